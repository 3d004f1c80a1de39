// Package tests logs in with every credential, driver and framework, and builds programs in the ways that Go's users do.
package tests

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/azcoreentra"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

const (
	scope             = "https://ossrdbms-aad.database.windows.net/.default"
	currentUser       = "select current_user::text"
	serviceConnection = "55555555-0000-0000-0000-000000000001"
)

var (
	certificates = filepath.Join(emulator.Root(), "tests", "vectors", "certificates")
	federated    = emulator.Object{"issuer": "https://cluster.example", "subject": "system:serviceaccount:shop:orders"}
	pipeline     = emulator.Object{
		"issuer":  "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0",
		"subject": "sc://contoso/shop/orders-api",
	}
)

// made returns a credential, or fails the test.
func made[T any](t *testing.T) func(T, error) T {
	return func(credential T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return credential
	}
}

// logsIn tests a credential by a token and a login, and prints a line for the table of credentials. user is given for tokens that
// contain no name.
func logsIn(t *testing.T, emulated *emulator.Emulator, name string, credential pgentra.TokenCredential, role, user string) {
	t.Helper()
	token, err := credential.GetToken(t.Context(), pgentra.TokenRequest{Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := pgentra.DecodeJWT(token.Value())
	if err != nil {
		t.Fatal(err)
	}
	if difference := claims["exp"].(float64) - float64(token.ExpiresOn.Unix()); difference < -30 || difference > 30 {
		t.Errorf("the expiry differs by %v s", difference)
	}
	options := []pgentra.Option{pgentra.WithCredential(credential)}
	if user != "" {
		options = append(options, pgentra.WithUser(user))
	}
	connection, err := pgxentra.Connect(t.Context(), emulated.ConnString(), options...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close(context.Background()) }()
	var found string
	if err := connection.QueryRow(t.Context(), currentUser).Scan(&found); err != nil || found != role {
		t.Fatal(found, err)
	}
	if name != "" {
		fmt.Printf("works: %s in Go\n", name)
	}
}

// nowhere is an environment without a managed identity.
func nowhere(t *testing.T) {
	for _, name := range []string{"IDENTITY_ENDPOINT", "IDENTITY_HEADER"} {
		t.Setenv(name, "")
		_ = os.Unsetenv(name)
	}
}

func application(t *testing.T, emulated *emulator.Emulator, more emulator.Object) emulator.Principal {
	return emulated.Add(t, "service_principal", more)
}

func at(emulated *emulator.Emulator) pgentra.ClientOptions {
	return pgentra.ClientOptions{AuthorityHost: emulated.Text("authority_host")}
}

func TestDefaultAzureCredential(t *testing.T) {
	emulated := emulator.Start(t)
	identity := emulated.Add(t, "user_assigned", nil)
	credential := made[*pgentra.DefaultAzureCredential](t)(pgentra.NewDefaultAzureCredential(
		&pgentra.DefaultAzureCredentialOptions{ManagedIdentityClientID: identity.ClientID}))
	logsIn(t, emulated, "DefaultAzureCredential", credential, identity.Name, "")

	nowhere(t)
	user := emulated.Add(t, "user", nil)
	t.Setenv("PATH", emulated.Tools(t, user.Name)+":"+os.Getenv("PATH"))
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "dev")
	credential = made[*pgentra.DefaultAzureCredential](t)(pgentra.NewDefaultAzureCredential(
		&pgentra.DefaultAzureCredentialOptions{AdditionallyAllowedTenants: []string{user.ObjectID}}))
	logsIn(t, emulated, "DefaultAzureCredential", credential, user.Name, "")
}

func TestChainedTokenCredential(t *testing.T) {
	emulated := emulator.Start(t)
	identity := emulated.Add(t, "user_assigned", nil)
	own := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.NewToken(emulated.Mint(t, identity.Name, emulator.Object{"named": true}), time.Time{}), nil
	})
	environment := made[*pgentra.EnvironmentCredential](t)(pgentra.NewEnvironmentCredential(nil))
	workload := made[*pgentra.WorkloadIdentityCredential](t)(pgentra.NewWorkloadIdentityCredential(nil))
	managed := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(identity.ClientID)}))
	for _, members := range [][]pgentra.TokenCredential{{environment, workload, own}, {environment, managed}} {
		chain := made[*pgentra.ChainedTokenCredential](t)(pgentra.NewChainedTokenCredential(members, nil))
		logsIn(t, emulated, "ChainedTokenCredential", chain, identity.Name, "")
	}
	// A chain in a chain, with custom credentials in both.
	unavailable := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.Token{}, pgentra.ErrCredentialUnavailable
	})
	inner := made[*pgentra.ChainedTokenCredential](t)(
		pgentra.NewChainedTokenCredential([]pgentra.TokenCredential{unavailable, own}, nil))
	outer := made[*pgentra.ChainedTokenCredential](t)(
		pgentra.NewChainedTokenCredential([]pgentra.TokenCredential{unavailable, inner}, nil))
	logsIn(t, emulated, "ChainedTokenCredential", outer, identity.Name, "")
}

func TestEnvironmentCredential(t *testing.T) {
	for _, proof := range []string{"secret", "certificate"} {
		t.Run(proof, func(t *testing.T) {
			emulated := emulator.Start(t)
			service := application(t, emulated, emulator.Object{"certificates": []string{filepath.Join(certificates, "no-key.pem")}})
			t.Setenv("AZURE_TENANT_ID", emulated.Text("tenant_id"))
			t.Setenv("AZURE_CLIENT_ID", service.ClientID)
			t.Setenv("AZURE_AUTHORITY_HOST", emulated.Text("authority_host"))
			if proof == "secret" {
				t.Setenv("AZURE_CLIENT_SECRET", service.Secret)
			} else {
				t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", filepath.Join(certificates, "app.pem"))
			}
			credential := made[*pgentra.EnvironmentCredential](t)(pgentra.NewEnvironmentCredential(nil))
			logsIn(t, emulated, "EnvironmentCredential", credential, service.Name, service.Name)
		})
	}
}

func TestWorkloadIdentityCredential(t *testing.T) {
	for _, way := range []string{"entra", "token_proxy"} {
		t.Run(way, func(t *testing.T) {
			emulated := emulator.Start(t)
			workload := application(t, emulated, emulator.Object{"federated_credentials": []emulator.Object{federated}})
			file := filepath.Join(t.TempDir(), "azure-identity-token")
			assertion := emulated.Mint(t, workload.Name, emulator.Object{"federated": federated})
			if err := os.WriteFile(file, []byte(assertion+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AZURE_TENANT_ID", emulated.Text("tenant_id"))
			t.Setenv("AZURE_CLIENT_ID", workload.ClientID)
			t.Setenv("AZURE_FEDERATED_TOKEN_FILE", file)
			t.Setenv("AZURE_AUTHORITY_HOST", emulated.Text("authority_host"))
			if way == "token_proxy" {
				for name, value := range emulated.Host("token_proxy") {
					t.Setenv(name, value)
				}
			}
			credential := made[*pgentra.WorkloadIdentityCredential](t)(pgentra.NewWorkloadIdentityCredential(
				&pgentra.WorkloadIdentityCredentialOptions{EnableAzureProxy: way == "token_proxy"}))
			logsIn(t, emulated, "WorkloadIdentityCredential", credential, workload.Name, workload.Name)
		})
	}
}

func TestManagedIdentityCredential(t *testing.T) {
	resource := "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/" +
		"Microsoft.ManagedIdentity/userAssignedIdentities/"
	for _, place := range []string{"app_service", "imds", "azure_arc", "azure_ml", "service_fabric", "cloud_shell"} {
		t.Run(place, func(t *testing.T) {
			emulated := emulator.Start(t)
			identity := emulated.Add(t, "user_assigned", nil)
			if place != "app_service" {
				nowhere(t)
				for name, value := range emulated.Host(place) {
					t.Setenv(name, value)
				}
			}
			options := &pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(identity.ClientID)}
			role := identity.Name
			// These endpoints have one identity.
			switch place {
			case "service_fabric":
				options, role = nil, "app-mi"
			case "cloud_shell":
				options, role = nil, "alice@contoso.example"
			}
			credential := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(options))
			logsIn(t, emulated, "ManagedIdentityCredential", credential, role, "")
		})
	}
	for name, id := range map[string]func(emulator.Principal) pgentra.ManagedIDKind{
		"object id":   func(p emulator.Principal) pgentra.ManagedIDKind { return pgentra.ObjectID(p.ObjectID) },
		"resource id": func(p emulator.Principal) pgentra.ManagedIDKind { return pgentra.ResourceID(resource + p.Name) },
	} {
		t.Run(name, func(t *testing.T) {
			emulated := emulator.Start(t)
			identity := emulated.Add(t, "user_assigned", nil)
			credential := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(
				&pgentra.ManagedIdentityCredentialOptions{ID: id(identity)}))
			logsIn(t, emulated, "ManagedIdentityCredential", credential, identity.Name, "")
		})
	}
}

func TestDeveloperTools(t *testing.T) {
	for name, make := range map[string]func(t *testing.T) pgentra.TokenCredential{
		"AzureCliCredential": func(t *testing.T) pgentra.TokenCredential {
			return made[*pgentra.AzureCLICredential](t)(pgentra.NewAzureCLICredential(nil))
		},
		"AzureDeveloperCliCredential": func(t *testing.T) pgentra.TokenCredential {
			return made[*pgentra.AzureDeveloperCLICredential](t)(pgentra.NewAzureDeveloperCLICredential(nil))
		},
		"AzurePowerShellCredential": func(t *testing.T) pgentra.TokenCredential {
			return made[*pgentra.AzurePowerShellCredential](t)(pgentra.NewAzurePowerShellCredential(nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			emulated := emulator.Start(t)
			nowhere(t)
			user := emulated.Add(t, "user", nil)
			t.Setenv("PATH", emulated.Tools(t, user.Name)+":"+os.Getenv("PATH"))
			logsIn(t, emulated, name, make(t), user.Name, "")
		})
	}
}

func TestClientSecretCredential(t *testing.T) {
	emulated := emulator.Start(t)
	service := application(t, emulated, nil)
	credential := made[*pgentra.ClientSecretCredential](t)(pgentra.NewClientSecretCredential(emulated.Text("tenant_id"),
		service.ClientID, service.Secret, &pgentra.ClientSecretCredentialOptions{ClientOptions: at(emulated)}))
	logsIn(t, emulated, "ClientSecretCredential", credential, service.Name, service.Name)
}

// parsed returns the certificates and the key of a PEM file.
func parsed(t *testing.T, file string) ([]*x509.Certificate, crypto.PrivateKey) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(certificates, file))
	if err != nil {
		t.Fatal(err)
	}
	var certs []*x509.Certificate
	var key crypto.PrivateKey
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			certs = append(certs, cert)
		} else if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			if key, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
				t.Fatal(err)
			}
		}
	}
	return certs, key
}

func TestClientCertificateCredential(t *testing.T) {
	const password = "canary-password"
	for name, make := range map[string]func(
		*testing.T, string, string, *pgentra.ClientCertificateCredentialOptions,
	) (*pgentra.ClientCertificateCredential, error){
		"pem": func(_ *testing.T, tenant, client string, o *pgentra.ClientCertificateCredentialOptions) (*pgentra.ClientCertificateCredential, error) {
			return pgentra.NewClientCertificateCredentialFromFile(tenant, client, filepath.Join(certificates, "app.pem"), o)
		},
		"encrypted pem": func(_ *testing.T, tenant, client string, o *pgentra.ClientCertificateCredentialOptions) (*pgentra.ClientCertificateCredential, error) {
			o.Password = password
			return pgentra.NewClientCertificateCredentialFromFile(tenant, client, filepath.Join(certificates, "encrypted.pem"), o)
		},
		"pfx": func(_ *testing.T, tenant, client string, o *pgentra.ClientCertificateCredentialOptions) (*pgentra.ClientCertificateCredential, error) {
			o.Password = password
			return pgentra.NewClientCertificateCredentialFromFile(tenant, client, filepath.Join(certificates, "app.pfx"), o)
		},
		"parsed": func(t *testing.T, tenant, client string, o *pgentra.ClientCertificateCredentialOptions) (*pgentra.ClientCertificateCredential, error) {
			certs, key := parsed(t, "app.pem")
			return pgentra.NewClientCertificateCredential(tenant, client, certs, key, o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			emulated := emulator.Start(t)
			service := application(t, emulated, emulator.Object{"certificates": []string{filepath.Join(certificates, "no-key.pem")}})
			credential, err := make(t, emulated.Text("tenant_id"), service.ClientID,
				&pgentra.ClientCertificateCredentialOptions{ClientOptions: at(emulated)})
			if err != nil {
				t.Fatal(err)
			}
			logsIn(t, emulated, "ClientCertificateCredential", credential, service.Name, service.Name)
		})
	}
}

func TestClientAssertionCredential(t *testing.T) {
	emulated := emulator.Start(t)
	service := application(t, emulated, emulator.Object{"federated_credentials": []emulator.Object{federated}})
	assertion := func(context.Context) (string, error) {
		return emulated.Mint(t, service.Name, emulator.Object{"federated": federated}), nil
	}
	credential := made[*pgentra.ClientAssertionCredential](t)(pgentra.NewClientAssertionCredential(emulated.Text("tenant_id"),
		service.ClientID, assertion, &pgentra.ClientAssertionCredentialOptions{ClientOptions: at(emulated)}))
	logsIn(t, emulated, "ClientAssertionCredential", credential, service.Name, service.Name)
}

func TestOnBehalfOfCredential(t *testing.T) {
	for _, proof := range []string{"secret", "certificate", "assertion"} {
		t.Run(proof, func(t *testing.T) {
			emulated := emulator.Start(t)
			service := application(t, emulated, emulator.Object{
				"certificates":          []string{filepath.Join(certificates, "no-key.pem")},
				"federated_credentials": []emulator.Object{federated},
				"role":                  false,
			})
			user := emulated.Add(t, "user", nil)
			sent := emulated.Mint(t, user.Name, emulator.Object{"audience": "api://" + service.ClientID})
			options := &pgentra.OnBehalfOfCredentialOptions{ClientOptions: at(emulated)}
			tenant := emulated.Text("tenant_id")
			var credential *pgentra.OnBehalfOfCredential
			var err error
			switch proof {
			case "secret":
				credential, err = pgentra.NewOnBehalfOfCredentialWithSecret(tenant, service.ClientID, sent, service.Secret, options)
			case "certificate":
				certs, key := parsed(t, "app.pem")
				credential, err = pgentra.NewOnBehalfOfCredentialWithCertificate(tenant, service.ClientID, sent, certs, key, options)
			default:
				assertion := func(context.Context) (string, error) {
					return emulated.Mint(t, service.Name, emulator.Object{"federated": federated}), nil
				}
				credential, err = pgentra.NewOnBehalfOfCredentialWithClientAssertions(tenant, service.ClientID, sent, assertion, options)
			}
			if err != nil {
				t.Fatal(err)
			}
			logsIn(t, emulated, "OnBehalfOfCredential", credential, user.Name, "")
		})
	}
}

func TestAzurePipelinesCredential(t *testing.T) {
	emulated := emulator.Start(t)
	nowhere(t)
	service := application(t, emulated, emulator.Object{"federated_credentials": []emulator.Object{pipeline}})
	task := emulated.Host("azure_pipelines")
	t.Setenv("SYSTEM_OIDCREQUESTURI", task["SYSTEM_OIDCREQUESTURI"])
	credential := made[*pgentra.AzurePipelinesCredential](t)(pgentra.NewAzurePipelinesCredential(emulated.Text("tenant_id"),
		service.ClientID, serviceConnection, task["SYSTEM_ACCESSTOKEN"],
		&pgentra.AzurePipelinesCredentialOptions{ClientOptions: at(emulated)}))
	logsIn(t, emulated, "AzurePipelinesCredential", credential, service.Name, service.Name)
}

func TestStaticTokenCredential(t *testing.T) {
	emulated := emulator.Start(t)
	identity := emulated.Add(t, "user_assigned", nil)
	token := emulated.Mint(t, identity.Name, emulator.Object{"named": true})
	credential := made[*pgentra.StaticTokenCredential](t)(pgentra.NewStaticTokenCredential(token, time.Time{}))
	logsIn(t, emulated, "StaticTokenCredential", credential, identity.Name, "")
}

// A credential of the Azure SDK itself.
func TestAzureCredential(t *testing.T) {
	emulated := emulator.Start(t)
	identity := emulated.Add(t, "user_assigned", nil)
	credential := made[*azidentity.ManagedIdentityCredential](t)(azidentity.NewManagedIdentityCredential(
		&azidentity.ManagedIdentityCredentialOptions{ID: azidentity.ClientID(identity.ClientID)}))
	logsIn(t, emulated, "", azcoreentra.FromAzure(credential), identity.Name, "")

	nowhere(t)
	unavailable, err := azidentity.NewAzureCLICredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", t.TempDir())
	user := emulated.Add(t, "user", nil)
	chain := made[*pgentra.ChainedTokenCredential](t)(pgentra.NewChainedTokenCredential([]pgentra.TokenCredential{
		azcoreentra.FromAzure(unavailable),
		made[*pgentra.StaticTokenCredential](t)(pgentra.NewStaticTokenCredential(emulated.Mint(t, user.Name, nil), time.Time{})),
	}, nil))
	logsIn(t, emulated, "ChainedTokenCredential", chain, user.Name, "")
}
