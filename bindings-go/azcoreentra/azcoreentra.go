// Package azcoreentra converts credentials between the Azure SDK for Go and pgentra.
package azcoreentra

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/pgentra/pgentra/bindings-go"
)

// FromAzure returns a credential of the Azure SDK as one of pgentra, for [pgentra.WithCredential]. pgentra caches its tokens and
// renews them before they expire. Conversions of the same pointer share one cached token.
func FromAzure(credential azcore.TokenCredential) pgentra.TokenCredential {
	if credential == nil {
		return nil
	}
	return &fromAzure{credential}
}

type fromAzure struct{ credential azcore.TokenCredential }

// GetToken requests a token from the credential.
func (f *fromAzure) GetToken(ctx context.Context, request pgentra.TokenRequest) (pgentra.Token, error) {
	token, err := f.credential.GetToken(ctx, policy.TokenRequestOptions{
		Claims:    request.Claims,
		EnableCAE: request.EnableCAE,
		Scopes:    []string{request.Scope},
		TenantID:  request.TenantID,
	})
	if err != nil {
		return pgentra.Token{}, err
	}
	made := pgentra.NewToken(token.Token, token.ExpiresOn)
	made.RefreshOn = token.RefreshOn
	return made, nil
}

// CredentialName returns the name of the credential's type for errors and logs.
func (f *fromAzure) CredentialName() string {
	name := fmt.Sprintf("%T", f.credential)
	return name[strings.LastIndex(name, ".")+1:]
}

// CacheKey returns the credential, whose conversions share the cached tokens.
func (f *fromAzure) CacheKey() any { return f.credential }

// ToAzure returns a credential of pgentra as one of the Azure SDK, for clients of other services. A request must have one scope.
func ToAzure(credential pgentra.TokenCredential) azcore.TokenCredential { return &toAzure{credential} }

type toAzure struct{ credential pgentra.TokenCredential }

// GetToken requests a token from the credential, which caches it.
func (t *toAzure) GetToken(ctx context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(options.Scopes) != 1 {
		return azcore.AccessToken{}, fmt.Errorf("expected one scope, got %d", len(options.Scopes))
	}
	token, err := t.credential.GetToken(ctx, pgentra.TokenRequest{
		Scope:     options.Scopes[0],
		TenantID:  options.TenantID,
		Claims:    options.Claims,
		EnableCAE: options.EnableCAE,
	})
	if err != nil {
		return azcore.AccessToken{}, err
	}
	return azcore.AccessToken{Token: token.Value(), ExpiresOn: token.ExpiresOn, RefreshOn: token.RefreshOn}, nil
}
