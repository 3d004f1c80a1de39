package azcoreentra_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/azcoreentra"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

func TestMain(m *testing.M) { emulator.Main(m) }

// sdk is a credential as the Azure SDK's clients expect it.
type sdk struct {
	calls atomic.Int64
	err   error
}

func (s *sdk) GetToken(_ context.Context, options policy.TokenRequestOptions) (azcore.AccessToken, error) {
	s.calls.Add(1)
	return azcore.AccessToken{Token: "token-for-" + options.Scopes[0], ExpiresOn: time.Now().Add(time.Hour)}, s.err
}

func open(t *testing.T, credential pgentra.TokenCredential) *pgentra.TokenProvider {
	t.Helper()
	provider, err := pgentra.NewTokenProvider(pgentra.WithCredential(credential), pgentra.WithScope("scope"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	return provider
}

func TestFromAzure_shares_the_cached_token(t *testing.T) {
	credential := &sdk{}
	for range 2 {
		provider := open(t, azcoreentra.FromAzure(credential))
		if token, err := provider.Token(t.Context()); err != nil || token.Value() != "token-for-scope" {
			t.Fatal(err)
		}
	}
	if found := credential.calls.Load(); found != 1 {
		t.Errorf("%d calls", found)
	}
}

func TestFromAzure_errors_are_wrapped(t *testing.T) {
	own := errors.New("the SDK's error")
	_, err := open(t, azcoreentra.FromAzure(&sdk{err: own})).Token(t.Context())
	if !errors.Is(err, own) || !errors.Is(err, pgentra.ErrCustomCredential) {
		t.Error(err)
	}
}

func TestToAzure_returns_cached_tokens(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "user_assigned", nil)
	credential, err := pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(principal.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	var converted azcore.TokenCredential = azcoreentra.ToAzure(credential)
	options := policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}}
	first, err := converted.GetToken(t.Context(), options)
	if err != nil || first.Token == "" || time.Until(first.ExpiresOn) < time.Hour {
		t.Fatal(err)
	}
	second, err := converted.GetToken(t.Context(), options)
	if err != nil || second.Token != first.Token {
		t.Error("the token is not cached", err)
	}
	if _, err := converted.GetToken(t.Context(), policy.TokenRequestOptions{}); err == nil {
		t.Error("a request without a scope is accepted")
	}
}
