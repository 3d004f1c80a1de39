package pgentra

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"
	"time"
)

// The credentials have the names, the constructors and the options that they have in azidentity. A constructor returns an error
// if an argument is not valid; it sends no request.

// builtin is a credential of the library, which a document describes.
type builtin struct {
	name     string
	document func() map[string]any
	// members are custom credentials that the document names by their index.
	members []TokenCredential
	caFile  string

	lock   sync.Mutex
	opened *openedCredential
	err    error
}

type builtinCredential interface {
	TokenCredential
	self() *builtin
}

func (b *builtin) self() *builtin { return b }

type openedCredential struct {
	handle credentialHandle
	queues []*queue
	waits  provider
}

func (o *openedCredential) close() {
	closeCredential(o.handle)
	for _, one := range o.queues {
		releaseQueue(one)
	}
}

// describe checks a document and returns its credential.
func describe(name, kind string, options ClientOptions, members []TokenCredential, arguments map[string]any) (*builtin, error) {
	document := map[string]any{"type": kind}
	for key, value := range arguments {
		switch given := value.(type) {
		case string:
			if given == "" && !isRequired(kind, key) {
				continue
			}
		case []string:
			if len(given) == 0 {
				continue
			}
		case bool:
			if !given {
				continue
			}
		case time.Duration:
			if given == 0 {
				continue
			}
			value = given.Seconds()
		case nil:
			continue
		}
		document[key] = value
	}
	options.add(document)
	if err := checkConfig(map[string]any{"credential": document}); err != nil {
		return nil, err
	}
	return &builtin{
		name: name,
		// The document may contain secrets: a function shows no text.
		document: func() map[string]any { return maps.Clone(document) },
		members:  members,
		caFile:   options.CAFile,
	}, nil
}

// isRequired reports whether an empty argument must reach the library, which reports it.
func isRequired(kind, key string) bool {
	switch kind {
	case "client_secret", "client_certificate", "client_assertion", "on_behalf_of", "azure_pipelines", "static_token":
		switch key {
		case "tenant_id", "client_id", "client_secret", "user_assertion_token", "service_connection_id",
			"system_access_token", "token":
			return true
		}
	}
	return false
}

// open opens the credential by itself, with the variables of the process at that time.
func (b *builtin) open() (*openedCredential, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	if b.opened != nil {
		return b.opened, nil
	}
	made := &openedCredential{}
	handles := make([]credentialHandle, 0, len(b.members))
	for _, member := range b.members {
		found, err := acquireQueue(member)
		if err != nil {
			made.close()
			return nil, err
		}
		made.queues = append(made.queues, found)
		handles = append(handles, found.handle)
	}
	config := map[string]any{"credential": b.document(), "environment": environmentOf(nil, configVariables())}
	if b.caFile != "" {
		config["ca_file"] = b.caFile
	}
	var err error
	if made.handle, err = openCredential(config, handles); err != nil {
		made.close()
		return nil, err
	}
	made.waits.isCached, made.waits.closed, made.waits.limit = true, make(chan struct{}), 30*time.Second
	made.waits.queues = made.queues
	b.opened = made
	runtime.AddCleanup(b, (*openedCredential).close, made)
	return made, nil
}

// GetToken returns a token for any scope, so that the credential can be used for other services too. Tokens are cached. It
// waits at most until the context ends, and at most 30 s.
func (b *builtin) GetToken(ctx context.Context, request TokenRequest) (Token, error) {
	defer runtime.KeepAlive(b)
	if ctx.Err() != nil {
		return Token{}, contextError(ctx, nil)
	}
	opened, err := b.open()
	if err != nil {
		return Token{}, err
	}
	token, err := credentialToken(opened.handle, request, 0)
	if token == nil && err == nil {
		key := strings.Join([]string{request.Scope, request.TenantID, request.Claims, fmt.Sprint(request.EnableCAE)}, "\x00")
		token, err = shared(ctx, &opened.waits, key, func(_ providerHandle, limit int) (*Token, error) {
			return credentialToken(opened.handle, request, limit)
		})
	}
	if err != nil {
		return Token{}, err
	}
	return *token, nil
}

// CredentialName returns the name of the credential for errors and logs.
func (b *builtin) CredentialName() string { return b.name }

// String returns the name of the credential.
func (b *builtin) String() string { return b.name }

// Format prints the name of the credential for every verb.
func (b *builtin) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, b.name) }

// LogValue returns the name of the credential.
func (b *builtin) LogValue() slog.Value { return slog.StringValue(b.name) }

// MarshalText returns the name of the credential.
func (b *builtin) MarshalText() ([]byte, error) { return []byte(b.name), nil }

// A Cloud is one of Azure's clouds.
type Cloud string

// Azure's clouds.
const (
	AzurePublic     Cloud = "public"
	AzureGovernment Cloud = "us_government"
	AzureChina      Cloud = "china"
)

// RetryOptions say how requests are repeated within one fetch.
type RetryOptions struct {
	// MaxRetries is the number of retries after the first attempt; negative for none. The default is 3.
	MaxRetries int32
	// RetryDelay is the first delay, which doubles with each retry. The default is 0.8 s.
	RetryDelay time.Duration
	// MaxRetryDelay is the longest delay. The default is 60 s.
	MaxRetryDelay time.Duration
}

// ClientOptions are the options of every credential.
type ClientOptions struct {
	// Cloud is Azure's cloud. The default follows from the server.
	Cloud Cloud
	// AuthorityHost is the authority host, such as https://login.microsoftonline.us. The default is AZURE_AUTHORITY_HOST, then
	// the host of the cloud.
	AuthorityHost string
	// Retry says how requests are repeated.
	Retry RetryOptions
	// CAFile has certificate authorities to trust in addition to the system's.
	CAFile string
}

func (o ClientOptions) add(document map[string]any) {
	if o.Cloud != "" {
		document["cloud"] = string(o.Cloud)
	}
	if o.AuthorityHost != "" {
		document["authority_host"] = o.AuthorityHost
	}
	retry := map[string]any{}
	if o.Retry.MaxRetries != 0 {
		retry["max_retries"] = max(o.Retry.MaxRetries, 0)
	}
	if o.Retry.RetryDelay > 0 {
		retry["delay"] = o.Retry.RetryDelay.Seconds()
	}
	if o.Retry.MaxRetryDelay > 0 {
		retry["max_delay"] = o.Retry.MaxRetryDelay.Seconds()
	}
	if len(retry) > 0 {
		document["retry"] = retry
	}
}

// optional returns the options, or the zero value for nil.
func optional[T any](options *T) T {
	if options == nil {
		var none T
		return none
	}
	return *options
}

// DefaultAzureCredential tries the credentials of the environment, workload identity, managed identity and the developer tools,
// and stays with the first that returns a token.
type DefaultAzureCredential struct{ *builtin }

// DefaultAzureCredentialOptions are the options of [NewDefaultAzureCredential].
type DefaultAzureCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect: pgentra performs no instance discovery.
	DisableInstanceDiscovery bool
	// RequireAzureTokenCredentials makes a missing variable AZURE_TOKEN_CREDENTIALS an error.
	RequireAzureTokenCredentials bool
	// TenantID is the tenant of the developer tools and of workload identity.
	TenantID string
	// ManagedIdentityClientID is the client id of a user-assigned managed identity. The default is AZURE_CLIENT_ID.
	ManagedIdentityClientID string
	// Exclude has the names of credentials to leave out, such as "AzureCliCredential".
	Exclude []string
	// ProcessTimeout is the time limit of each developer tool. The default is 10 s.
	ProcessTimeout time.Duration
}

// NewDefaultAzureCredential returns a [DefaultAzureCredential]. Options may be nil.
func NewDefaultAzureCredential(options *DefaultAzureCredentialOptions) (*DefaultAzureCredential, error) {
	given := optional(options)
	var required []string
	if given.RequireAzureTokenCredentials {
		required = []string{"AZURE_TOKEN_CREDENTIALS"}
	}
	made, err := describe("DefaultAzureCredential", "default", given.ClientOptions, nil, map[string]any{
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"required_env_vars":            required,
		"tenant_id":                    given.TenantID,
		"managed_identity_client_id":   given.ManagedIdentityClientID,
		"exclude":                      given.Exclude,
		"process_timeout":              given.ProcessTimeout,
	})
	return credentialOf(&DefaultAzureCredential{made}, err)
}

// credentialOf returns nil for a credential with an error.
func credentialOf[T any](made *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return made, nil
}

// ChainedTokenCredential tries credentials in order, and continues with the next if one is not available.
type ChainedTokenCredential struct{ *builtin }

// ChainedTokenCredentialOptions are the options of [NewChainedTokenCredential]. There are none yet.
type ChainedTokenCredentialOptions struct{}

// NewChainedTokenCredential returns a [ChainedTokenCredential] of credentials of this package and of the application. Options may
// be nil.
func NewChainedTokenCredential(
	sources []TokenCredential, _ *ChainedTokenCredentialOptions,
) (*ChainedTokenCredential, error) {
	var members []TokenCredential
	documents := []any{}
	for _, source := range sources {
		document, err := documentOf(source, &members)
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	arguments := map[string]any{"credentials": documents}
	made, err := describe("ChainedTokenCredential", "chained", ClientOptions{}, members, arguments)
	return credentialOf(&ChainedTokenCredential{made}, err)
}

// documentOf returns the document of a chain's member, and adds its custom credentials to the chain's.
func documentOf(source TokenCredential, members *[]TokenCredential) (map[string]any, error) {
	if isNil(source) {
		return nil, newError(ErrCredentialValue, "a member of the chain is nil", "Pass credentials only.", "")
	}
	inner, ok := source.(builtinCredential)
	if !ok {
		*members = append(*members, source)
		return map[string]any{"type": "custom_credential", "index": len(*members) - 1}, nil
	}
	document := shifted(inner.self().document(), len(*members))
	*members = append(*members, inner.self().members...)
	return document, nil
}

// shifted adds to the indices of custom credentials in a document.
func shifted(document map[string]any, by int) map[string]any {
	moved := map[string]any{}
	for key, value := range document {
		switch value := value.(type) {
		case map[string]any:
			moved[key] = shifted(value, by)
		case []any:
			list := make([]any, len(value))
			for i, one := range value {
				list[i] = one
				if object, ok := one.(map[string]any); ok {
					list[i] = shifted(object, by)
				}
			}
			moved[key] = list
		case int:
			moved[key] = value
			if key == "index" {
				moved[key] = value + by
			}
		default:
			moved[key] = value
		}
	}
	return moved
}

// EnvironmentCredential is a service principal that environment variables configure: AZURE_TENANT_ID, AZURE_CLIENT_ID and
// AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.
type EnvironmentCredential struct{ *builtin }

// EnvironmentCredentialOptions are the options of [NewEnvironmentCredential].
type EnvironmentCredentialOptions struct {
	ClientOptions
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
}

// NewEnvironmentCredential returns an [EnvironmentCredential]. Options may be nil. Unlike azidentity's, it returns no error if
// variables are missing: its fetches fail with [ErrCredentialUnavailable].
func NewEnvironmentCredential(options *EnvironmentCredentialOptions) (*EnvironmentCredential, error) {
	made, err := describe("EnvironmentCredential", "environment", optional(options).ClientOptions, nil, nil)
	return credentialOf(&EnvironmentCredential{made}, err)
}

// WorkloadIdentityCredential is a workload identity with a federated token in a file, as in Kubernetes.
type WorkloadIdentityCredential struct{ *builtin }

// WorkloadIdentityCredentialOptions are the options of [NewWorkloadIdentityCredential].
type WorkloadIdentityCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// ClientID is the client id. The default is AZURE_CLIENT_ID.
	ClientID string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
	// EnableAzureProxy sends requests to the cluster's token proxy in AZURE_KUBERNETES_TOKEN_PROXY.
	EnableAzureProxy bool
	// TenantID is the tenant. The default is AZURE_TENANT_ID.
	TenantID string
	// TokenFilePath is the file. The default is AZURE_FEDERATED_TOKEN_FILE.
	TokenFilePath string
}

// NewWorkloadIdentityCredential returns a [WorkloadIdentityCredential]. Options may be nil.
func NewWorkloadIdentityCredential(options *WorkloadIdentityCredentialOptions) (*WorkloadIdentityCredential, error) {
	given := optional(options)
	made, err := describe("WorkloadIdentityCredential", "workload_identity", given.ClientOptions, nil, map[string]any{
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"client_id":                    given.ClientID,
		"enable_azure_proxy":           given.EnableAzureProxy,
		"tenant_id":                    given.TenantID,
		"token_file_path":              given.TokenFilePath,
	})
	return credentialOf(&WorkloadIdentityCredential{made}, err)
}

// A ManagedIDKind identifies a user-assigned managed identity: [ClientID], [ObjectID] or [ResourceID].
type ManagedIDKind interface {
	fmt.Stringer
	key() string
}

// ClientID is the client id of a user-assigned managed identity.
type ClientID string

// String returns the id.
func (c ClientID) String() string { return string(c) }
func (c ClientID) key() string    { return "client_id" }

// ObjectID is the object id of a user-assigned managed identity.
type ObjectID string

// String returns the id.
func (o ObjectID) String() string { return string(o) }
func (o ObjectID) key() string    { return "object_id" }

// ResourceID is the resource id of a user-assigned managed identity.
type ResourceID string

// String returns the id.
func (r ResourceID) String() string { return string(r) }
func (r ResourceID) key() string    { return "resource_id" }

// ManagedIdentityCredential is the managed identity of the machine or the service.
type ManagedIdentityCredential struct{ *builtin }

// ManagedIdentityCredentialOptions are the options of [NewManagedIdentityCredential].
type ManagedIdentityCredentialOptions struct {
	ClientOptions
	// ID is the identity. The default is the system-assigned one.
	ID ManagedIDKind
}

// NewManagedIdentityCredential returns a [ManagedIdentityCredential]. Options may be nil.
func NewManagedIdentityCredential(options *ManagedIdentityCredentialOptions) (*ManagedIdentityCredential, error) {
	given := optional(options)
	arguments := map[string]any{}
	if given.ID != nil {
		arguments[given.ID.key()] = given.ID.String()
	}
	made, err := describe("ManagedIdentityCredential", "managed_identity", given.ClientOptions, nil, arguments)
	return credentialOf(&ManagedIdentityCredential{made}, err)
}

// ClientSecretCredential is an application with a client secret.
type ClientSecretCredential struct{ *builtin }

// ClientSecretCredentialOptions are the options of [NewClientSecretCredential].
type ClientSecretCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
}

// NewClientSecretCredential returns a [ClientSecretCredential]. Options may be nil.
func NewClientSecretCredential(
	tenantID, clientID, clientSecret string, options *ClientSecretCredentialOptions,
) (*ClientSecretCredential, error) {
	given := optional(options)
	made, err := describe("ClientSecretCredential", "client_secret", given.ClientOptions, nil, map[string]any{
		"tenant_id":                    tenantID,
		"client_id":                    clientID,
		"client_secret":                clientSecret,
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
	})
	return credentialOf(&ClientSecretCredential{made}, err)
}

// ClientCertificateCredential is an application with a certificate.
type ClientCertificateCredential struct{ *builtin }

// ClientCertificateCredentialOptions are the options of [NewClientCertificateCredential].
type ClientCertificateCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
	// SendCertificateChain sends the certificate with its chain, for registrations by subject name.
	SendCertificateChain bool
	// Password decrypts the file of [NewClientCertificateCredentialFromFile].
	Password string
}

// NewClientCertificateCredential returns a [ClientCertificateCredential] for certificates in memory. Options may be nil.
func NewClientCertificateCredential(
	tenantID, clientID string, certs []*x509.Certificate, key crypto.PrivateKey, options *ClientCertificateCredentialOptions,
) (*ClientCertificateCredential, error) {
	text, err := encodeCertificates(certs, key)
	if err != nil {
		return nil, err
	}
	return certificateCredential(tenantID, clientID, options, "certificate", text)
}

// NewClientCertificateCredentialFromFile returns a [ClientCertificateCredential] for a PEM or PFX file, which is read again when it
// changes. Options may be nil.
func NewClientCertificateCredentialFromFile(
	tenantID, clientID, path string, options *ClientCertificateCredentialOptions,
) (*ClientCertificateCredential, error) {
	return certificateCredential(tenantID, clientID, options, "certificate_path", path)
}

func certificateCredential(
	tenantID, clientID string, options *ClientCertificateCredentialOptions, key, value string,
) (*ClientCertificateCredential, error) {
	given := optional(options)
	made, err := describe("ClientCertificateCredential", "client_certificate", given.ClientOptions, nil, map[string]any{
		"tenant_id":                    tenantID,
		"client_id":                    clientID,
		key:                            value,
		"certificate_password":         given.Password,
		"send_certificate_chain":       given.SendCertificateChain,
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
	})
	return credentialOf(&ClientCertificateCredential{made}, err)
}

// encodeCertificates returns a key and its certificates as PEM.
func encodeCertificates(certs []*x509.Certificate, key crypto.PrivateKey) (string, error) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", newError(ErrInvalidConfiguration, "the key of the certificate cannot be encoded", "Pass an RSA or EC key.", "")
	}
	var text strings.Builder
	_ = pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	for _, cert := range certs {
		if cert != nil {
			_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		}
	}
	return text.String(), nil
}

// ClientAssertionCredential is an application with an assertion that a function returns.
type ClientAssertionCredential struct{ *builtin }

// ClientAssertionCredentialOptions are the options of [NewClientAssertionCredential].
type ClientAssertionCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
}

// NewClientAssertionCredential returns a [ClientAssertionCredential]. The function is called for each token request. Options may be
// nil.
func NewClientAssertionCredential(
	tenantID, clientID string, getAssertion func(context.Context) (string, error), options *ClientAssertionCredentialOptions,
) (*ClientAssertionCredential, error) {
	given := optional(options)
	source, err := assertionSource(getAssertion)
	if err != nil {
		return nil, err
	}
	members := []TokenCredential{source}
	made, err := describe("ClientAssertionCredential", "client_assertion", given.ClientOptions, members, map[string]any{
		"tenant_id":                    tenantID,
		"client_id":                    clientID,
		"get_assertion":                map[string]any{"type": "custom_credential", "index": 0},
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
	})
	return credentialOf(&ClientAssertionCredential{made}, err)
}

// assertion is a function that returns an assertion, as a credential.
type assertion struct {
	get func(context.Context) (string, error)
}

func assertionSource(get func(context.Context) (string, error)) (*assertion, error) {
	if get == nil {
		return nil, newError(ErrInvalidConfiguration, "the function of the assertion is nil", "Pass a function.", "")
	}
	return &assertion{get}, nil
}

// CredentialName names the function in errors.
func (a *assertion) CredentialName() string { return "assertion" }

// GetToken returns the assertion as a token.
func (a *assertion) GetToken(ctx context.Context, _ TokenRequest) (Token, error) {
	text, err := a.get(ctx)
	return NewToken(text, time.Time{}), err
}

// OnBehalfOfCredential is an application that acts on behalf of a user.
type OnBehalfOfCredential struct{ *builtin }

// OnBehalfOfCredentialOptions are the options of the constructors of [OnBehalfOfCredential].
type OnBehalfOfCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
	// SendCertificateChain sends the certificate with its chain, for registrations by subject name.
	SendCertificateChain bool
}

// NewOnBehalfOfCredentialWithSecret returns an [OnBehalfOfCredential] of an application with a client secret. Options may be nil.
func NewOnBehalfOfCredentialWithSecret(
	tenantID, clientID, userAssertion, clientSecret string, options *OnBehalfOfCredentialOptions,
) (*OnBehalfOfCredential, error) {
	return onBehalfOf(tenantID, clientID, userAssertion, options, nil, map[string]any{"client_secret": clientSecret})
}

// NewOnBehalfOfCredentialWithCertificate returns an [OnBehalfOfCredential] of an application with a certificate. Options may be nil.
func NewOnBehalfOfCredentialWithCertificate(
	tenantID, clientID, userAssertion string, certs []*x509.Certificate, key crypto.PrivateKey,
	options *OnBehalfOfCredentialOptions,
) (*OnBehalfOfCredential, error) {
	text, err := encodeCertificates(certs, key)
	if err != nil {
		return nil, err
	}
	return onBehalfOf(tenantID, clientID, userAssertion, options, nil, map[string]any{"certificate": text})
}

// NewOnBehalfOfCredentialWithClientAssertions returns an [OnBehalfOfCredential] of an application with an assertion that a function
// returns. Options may be nil.
func NewOnBehalfOfCredentialWithClientAssertions(
	tenantID, clientID, userAssertion string, getAssertion func(context.Context) (string, error),
	options *OnBehalfOfCredentialOptions,
) (*OnBehalfOfCredential, error) {
	source, err := assertionSource(getAssertion)
	if err != nil {
		return nil, err
	}
	return onBehalfOf(tenantID, clientID, userAssertion, options, []TokenCredential{source}, map[string]any{
		"get_assertion": map[string]any{"type": "custom_credential", "index": 0},
	})
}

func onBehalfOf(
	tenantID, clientID, userAssertion string, options *OnBehalfOfCredentialOptions, members []TokenCredential,
	proof map[string]any,
) (*OnBehalfOfCredential, error) {
	given := optional(options)
	arguments := map[string]any{
		"tenant_id":                    tenantID,
		"client_id":                    clientID,
		"user_assertion_token":         userAssertion,
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"send_certificate_chain":       given.SendCertificateChain,
	}
	maps.Copy(arguments, proof)
	made, err := describe("OnBehalfOfCredential", "on_behalf_of", given.ClientOptions, members, arguments)
	return credentialOf(&OnBehalfOfCredential{made}, err)
}

// AzurePipelinesCredential is the service connection of a task of Azure Pipelines.
type AzurePipelinesCredential struct{ *builtin }

// AzurePipelinesCredentialOptions are the options of [NewAzurePipelinesCredential].
type AzurePipelinesCredentialOptions struct {
	ClientOptions
	// AdditionallyAllowedTenants are tenants, in addition to the credential's own, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// DisableInstanceDiscovery is accepted and has no effect.
	DisableInstanceDiscovery bool
}

// NewAzurePipelinesCredential returns an [AzurePipelinesCredential]. Options may be nil.
func NewAzurePipelinesCredential(
	tenantID, clientID, serviceConnectionID, systemAccessToken string, options *AzurePipelinesCredentialOptions,
) (*AzurePipelinesCredential, error) {
	given := optional(options)
	made, err := describe("AzurePipelinesCredential", "azure_pipelines", given.ClientOptions, nil, map[string]any{
		"tenant_id":                    tenantID,
		"client_id":                    clientID,
		"service_connection_id":        serviceConnectionID,
		"system_access_token":          systemAccessToken,
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
	})
	return credentialOf(&AzurePipelinesCredential{made}, err)
}

// AzureCLICredential is the account that is signed in to Azure CLI.
type AzureCLICredential struct{ *builtin }

// AzureCLICredentialOptions are the options of [NewAzureCLICredential].
type AzureCLICredentialOptions struct {
	// AdditionallyAllowedTenants are tenants, in addition to TenantID, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// Subscription is the name or id of a subscription. The default is the selected one.
	Subscription string
	// TenantID is the tenant. The default is the signed-in one.
	TenantID string
	// ProcessTimeout is the time limit of the tool. The default is 10 s.
	ProcessTimeout time.Duration
}

// NewAzureCLICredential returns an [AzureCLICredential]. Options may be nil.
func NewAzureCLICredential(options *AzureCLICredentialOptions) (*AzureCLICredential, error) {
	given := optional(options)
	made, err := describe("AzureCliCredential", "azure_cli", ClientOptions{}, nil, map[string]any{
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"subscription":                 given.Subscription,
		"tenant_id":                    given.TenantID,
		"process_timeout":              given.ProcessTimeout,
	})
	return credentialOf(&AzureCLICredential{made}, err)
}

// AzureDeveloperCLICredential is the account that is signed in to Azure Developer CLI.
type AzureDeveloperCLICredential struct{ *builtin }

// AzureDeveloperCLICredentialOptions are the options of [NewAzureDeveloperCLICredential].
type AzureDeveloperCLICredentialOptions struct {
	// AdditionallyAllowedTenants are tenants, in addition to TenantID, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// TenantID is the tenant. The default is the signed-in one.
	TenantID string
	// ProcessTimeout is the time limit of the tool. The default is 10 s.
	ProcessTimeout time.Duration
}

// NewAzureDeveloperCLICredential returns an [AzureDeveloperCLICredential]. Options may be nil.
func NewAzureDeveloperCLICredential(options *AzureDeveloperCLICredentialOptions) (*AzureDeveloperCLICredential, error) {
	given := optional(options)
	made, err := describe("AzureDeveloperCliCredential", "azure_developer_cli", ClientOptions{}, nil, map[string]any{
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"tenant_id":                    given.TenantID,
		"process_timeout":              given.ProcessTimeout,
	})
	return credentialOf(&AzureDeveloperCLICredential{made}, err)
}

// AzurePowerShellCredential is the account that is signed in to Azure PowerShell.
type AzurePowerShellCredential struct{ *builtin }

// AzurePowerShellCredentialOptions are the options of [NewAzurePowerShellCredential].
type AzurePowerShellCredentialOptions struct {
	// AdditionallyAllowedTenants are tenants, in addition to TenantID, that a request may name; "*" allows all.
	AdditionallyAllowedTenants []string
	// TenantID is the tenant. The default is the signed-in one.
	TenantID string
	// ProcessTimeout is the time limit of the tool. The default is 10 s.
	ProcessTimeout time.Duration
}

// NewAzurePowerShellCredential returns an [AzurePowerShellCredential]. Options may be nil.
func NewAzurePowerShellCredential(options *AzurePowerShellCredentialOptions) (*AzurePowerShellCredential, error) {
	given := optional(options)
	made, err := describe("AzurePowerShellCredential", "azure_powershell", ClientOptions{}, nil, map[string]any{
		"additionally_allowed_tenants": given.AdditionallyAllowedTenants,
		"tenant_id":                    given.TenantID,
		"process_timeout":              given.ProcessTimeout,
	})
	return credentialOf(&AzurePowerShellCredential{made}, err)
}

// StaticTokenCredential is a given token.
type StaticTokenCredential struct{ *builtin }

// NewStaticTokenCredential returns a [StaticTokenCredential]. A zero expiry is read from the token.
func NewStaticTokenCredential(token string, expiresOn time.Time) (*StaticTokenCredential, error) {
	arguments := map[string]any{"token": token}
	if !expiresOn.IsZero() {
		arguments["expires_on"] = expiresOn.Unix()
	}
	made, err := describe("StaticTokenCredential", "static_token", ClientOptions{}, nil, arguments)
	return credentialOf(&StaticTokenCredential{made}, err)
}
