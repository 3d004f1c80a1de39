package pgentra_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

func open(t testing.TB, options ...pgentra.Option) *pgentra.TokenProvider {
	t.Helper()
	provider, err := pgentra.NewTokenProvider(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Close() })
	return provider
}

// identity returns the option of an identity without a cached token.
func identity(t testing.TB, emulated *emulator.Emulator) (emulator.Principal, pgentra.Option) {
	t.Helper()
	principal := emulated.Add(t, "user_assigned", nil)
	credential, err := pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(principal.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	return principal, pgentra.WithCredential(credential)
}

func TestLogin_returns_the_role_and_the_cached_token(t *testing.T) {
	emulated := emulator.Start(t)
	principal, credential := identity(t, emulated)
	provider := open(t, credential)
	first, err := provider.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if first.User != principal.Name || first.Source != "management token" && first.Source != "xms_mirid" {
		t.Error(first)
	}
	if until := time.Until(first.ExpiresOn); until < time.Hour || until > 25*time.Hour {
		t.Error(until)
	}
	second, err := open(t, credential).Login(t.Context())
	if err != nil || second.Password() != first.Password() {
		t.Error("another provider with equal settings has another token", err)
	}
	token, err := provider.Token(t.Context())
	if err != nil || token.Value() != first.Password() {
		t.Error("the token is not the login's", err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 1 {
		t.Errorf("%d token requests", found)
	}
	stats, err := provider.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if stats.Fetches != 1 || stats.Role != principal.Name || stats.Credential != "ManagedIdentityCredential" ||
		stats.Principal == nil || stats.Principal.ObjectID != principal.ObjectID || stats.ExpiresIn == nil || stats.LastSuccess == nil {
		t.Errorf("%+v", stats)
	}
	all, err := pgentra.Stats()
	if err != nil || len(all) == 0 {
		t.Error(all, err)
	}
}

func TestLogin_warm_allocates_nothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	emulated := emulator.Start(t)
	_, credential := identity(t, emulated)
	provider := open(t, credential)
	ctx := context.Background()
	for range 2 {
		if _, err := provider.Login(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := provider.Token(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for name, call := range map[string]func(){
		"Login": func() { _, _ = provider.Login(ctx) },
		"Token": func() { _, _ = provider.Token(ctx) },
	} {
		if found := testing.AllocsPerRun(1000, call); found != 0 {
			t.Errorf("%s: %v allocations", name, found)
		}
	}
}

func BenchmarkLogin_warm(b *testing.B) {
	credential, err := pgentra.NewStaticTokenCredential("token", time.Now().Add(time.Hour))
	if err != nil {
		b.Fatal(err)
	}
	provider := open(b, pgentra.WithCredential(credential), pgentra.WithUser("role"))
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := provider.Login(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

func TestLogin_200_goroutines_share_one_request_and_one_thread(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "latency_ms": 400})
	principal, credential := identity(t, emulated)
	provider := open(t, credential)
	var group sync.WaitGroup
	var failed atomic.Int64
	threads := threadCount()
	for range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := provider.Login(t.Context()); err != nil {
				failed.Add(1)
			}
		}()
	}
	time.Sleep(200 * time.Millisecond)
	if more := threadCount() - threads; more > 40 {
		t.Errorf("200 waiting goroutines take %d more threads", more)
	}
	group.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d logins failed", failed.Load())
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 1 {
		t.Errorf("%d token requests", found)
	}
}

func TestLogin_without_a_cache_requests_each_token(t *testing.T) {
	emulated := emulator.Start(t)
	principal, credential := identity(t, emulated)
	provider := open(t, credential, pgentra.WithCache(false), pgentra.WithUser(principal.Name))
	for range 3 {
		if _, err := provider.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 3 {
		t.Errorf("%d token requests", found)
	}
}

func TestLogin_a_context_ends_the_wait_and_not_the_fetch(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "latency_ms": 1500})
	principal, credential := identity(t, emulated)
	provider := open(t, credential)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := provider.Login(ctx)
	var failed *pgentra.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, pgentra.ErrTimeout) || !errors.As(err, &failed) || !failed.Timeout() {
		t.Errorf("%v", err)
	}
	stopped, stop := context.WithCancelCause(t.Context())
	reason := errors.New("the request was aborted")
	stop(reason)
	if _, err = provider.Login(stopped); !errors.Is(err, context.Canceled) || !errors.Is(err, pgentra.ErrCancelled) || !errors.Is(err, reason) {
		t.Errorf("%v", err)
	}
	if _, err = provider.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 1 {
		t.Errorf("%d token requests", found)
	}
}

func TestLogin_a_deadline_reports_the_last_failure(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "status": 503})
	_, credential := identity(t, emulated)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := open(t, credential).Login(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
}

func TestLogin_an_outage_of_the_source_does_not_end_a_token(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 60, "refresh_in_s": 1})
	_, credential := identity(t, emulated)
	provider := open(t, credential)
	first, err := provider.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "status": 503})
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		login, err := provider.Login(t.Context())
		if err != nil || login.Password() != first.Password() {
			t.Fatal(login, err)
		}
	}
}

func TestClose_ends_the_waits(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "latency_ms": 3000})
	_, credential := identity(t, emulated)
	provider := open(t, credential)
	ended := make(chan error, 20)
	for range 20 {
		go func() {
			_, err := provider.Login(t.Context())
			ended <- err
		}()
	}
	time.Sleep(200 * time.Millisecond)
	if err := provider.Close(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		select {
		case err := <-ended:
			if !errors.Is(err, pgentra.ErrCancelled) {
				t.Error(err)
			}
		case <-time.After(2 * time.Second):
			t.Fatal("a wait did not end")
		}
	}
	if _, err := provider.Login(t.Context()); !errors.Is(err, pgentra.ErrCancelled) {
		t.Error(err)
	}
	if _, err := provider.Stats(); !errors.Is(err, pgentra.ErrCancelled) {
		t.Error(err)
	}
	if err := provider.Close(); err != nil {
		t.Error(err)
	}
}

func TestClose_while_calls_are_under_way(t *testing.T) {
	emulated := emulator.Start(t)
	_, credential := identity(t, emulated)
	for range 30 {
		provider := open(t, credential)
		var group sync.WaitGroup
		for range 8 {
			group.Add(1)
			go func() {
				defer group.Done()
				for {
					if _, err := provider.Login(context.Background()); err != nil {
						if !errors.Is(err, pgentra.ErrCancelled) {
							t.Error(err)
						}
						return
					}
				}
			}()
		}
		time.Sleep(2 * time.Millisecond)
		_ = provider.Close()
		group.Wait()
	}
}

func TestInvalidate_fetches_a_newer_token(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 20})
	_, credential := identity(t, emulated)
	provider := open(t, credential)
	first, err := provider.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The current token is newer than any other.
	if newer, err := provider.Invalidate(t.Context(), "another"); err != nil || !newer {
		t.Error(newer, err)
	}
	time.Sleep(2200 * time.Millisecond)
	newer, err := provider.Invalidate(t.Context(), first.Password())
	if err != nil || !newer {
		t.Fatal(newer, err)
	}
	second, err := provider.Login(t.Context())
	if err != nil || second.Password() == first.Password() {
		t.Error("the login has the rejected token", err)
	}
}

func TestErrors_of_a_secret_that_is_wrong(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "service_principal", nil)
	credential, err := pgentra.NewClientSecretCredential(emulated.Text("tenant_id"), principal.ClientID, "canary-wrong",
		&pgentra.ClientSecretCredentialOptions{ClientOptions: pgentra.ClientOptions{AuthorityHost: emulated.Text("authority_host")}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = open(t, pgentra.WithCredential(credential)).Login(t.Context())
	var failed *pgentra.Error
	if !errors.Is(err, pgentra.ErrAuthenticationFailed) || !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if failed.AADSTS != 7000215 || failed.Transient || failed.Credential != "ClientSecretCredential" || failed.Status == 0 ||
		failed.Advice == "" || failed.TraceID == "" || !json.Valid(failed.Detail) {
		t.Errorf("%+v", *failed)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, *failed, *failed), "canary") {
		t.Error("the error contains the secret")
	}
}

func TestErrors_of_options(t *testing.T) {
	for name, options := range map[string][]pgentra.Option{
		"an empty scope":     {pgentra.WithScope("")},
		"an unknown mode":    {pgentra.WithRefreshMode("sometimes")},
		"a negative timeout": {pgentra.WithTimeout(-time.Second)},
	} {
		if _, err := pgentra.NewTokenProvider(options...); !errors.Is(err, pgentra.ErrInvalidConfiguration) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var none *pgentra.ClientSecretCredential
	if _, err := pgentra.NewTokenProvider(pgentra.WithCredential(none)); !errors.Is(err, pgentra.ErrCredentialValue) {
		t.Error(err)
	}
	if _, err := pgentra.NewClientSecretCredential("", "id", "canary", nil); !errors.Is(err, pgentra.ErrInvalidConfiguration) {
		t.Error(err)
	}
	if _, err := pgentra.NewClientSecretCredential("tenant\x00", "id", "canary", nil); !errors.Is(err, pgentra.ErrInvalidConfiguration) {
		t.Error(err)
	}
}

// A custom credential.
type custom struct {
	calls atomic.Int64
	get   func(ctx context.Context, request pgentra.TokenRequest) (pgentra.Token, error)
}

func (c *custom) GetToken(ctx context.Context, request pgentra.TokenRequest) (pgentra.Token, error) {
	c.calls.Add(1)
	return c.get(ctx, request)
}

func TestCustomCredential_is_called_once_for_its_providers(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "user", nil)
	var asked atomic.Pointer[pgentra.TokenRequest]
	credential := &custom{get: func(_ context.Context, request pgentra.TokenRequest) (pgentra.Token, error) {
		asked.Store(&request)
		time.Sleep(100 * time.Millisecond)
		return pgentra.NewToken(emulated.Mint(t, principal.Name, nil), time.Time{}), nil
	}}
	first, second := open(t, pgentra.WithCredential(credential)), open(t, pgentra.WithCredential(credential))
	var group sync.WaitGroup
	for _, provider := range []*pgentra.TokenProvider{first, second} {
		for range 50 {
			group.Add(1)
			go func() {
				defer group.Done()
				if login, err := provider.Login(t.Context()); err != nil || login.User != principal.Name {
					t.Error(login, err)
				}
			}()
		}
	}
	group.Wait()
	if credential.calls.Load() != 1 {
		t.Errorf("%d calls", credential.calls.Load())
	}
	if request := asked.Load(); request.Scope != "https://ossrdbms-aad.database.windows.net/.default" {
		t.Errorf("%+v", request)
	}
	// The token is the credential's: it is still cached after one provider is closed, and gone after both are.
	_ = first.Close()
	if _, err := second.Login(t.Context()); err != nil {
		t.Error(err)
	}
	_ = second.Close()
	if _, err := open(t, pgentra.WithCredential(credential)).Login(t.Context()); err != nil || credential.calls.Load() != 2 {
		t.Error(credential.calls.Load(), err)
	}
}

type ownError struct{ text string }

func (o *ownError) Error() string { return o.text }

func TestCustomCredential_errors(t *testing.T) {
	own := &ownError{"the vault is sealed"}
	failing := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.Token{}, fmt.Errorf("get: %w", own)
	})
	_, err := open(t, pgentra.WithCredential(failing)).Login(t.Context())
	var found *ownError
	if !errors.Is(err, pgentra.ErrCustomCredential) || !errors.As(err, &found) || found != own {
		t.Errorf("%v", err)
	}
	if !strings.Contains(err.Error(), "the vault is sealed") || !strings.Contains(err.Error(), "CredentialFunc") {
		t.Error(err)
	}
	panicking := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) { panic("a defect") })
	if _, err = open(t, pgentra.WithCredential(panicking)).Login(t.Context()); !errors.Is(err, pgentra.ErrCustomCredential) {
		t.Error(err)
	}
	empty := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) { return pgentra.Token{}, nil })
	if _, err = open(t, pgentra.WithCredential(empty)).Login(t.Context()); !errors.Is(err, pgentra.ErrCredentialValue) {
		t.Error(err)
	}
	nul := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.NewToken("a\x00b", time.Now().Add(time.Hour)), nil
	})
	if _, err = open(t, pgentra.WithCredential(nul)).Login(t.Context()); err == nil {
		t.Error("a token with NUL is accepted")
	}
	unavailable := pgentra.CredentialFunc(func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.Token{}, pgentra.ErrCredentialUnavailable
	})
	static, err := pgentra.NewStaticTokenCredential("token", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	chain, err := pgentra.NewChainedTokenCredential([]pgentra.TokenCredential{unavailable, static}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token, err := open(t, pgentra.WithCredential(chain)).Token(t.Context()); err != nil || token.Value() != "token" {
		t.Error(token, err)
	}
	chain, err = pgentra.NewChainedTokenCredential([]pgentra.TokenCredential{unavailable, failing}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var failed *pgentra.Error
	if _, err = open(t, pgentra.WithCredential(chain)).Token(t.Context()); !errors.As(err, &failed) || len(failed.Attempts) != 1 {
		t.Errorf("%v", err)
	}
}

func TestCustomCredential_that_requests_its_own_token(t *testing.T) {
	var provider *pgentra.TokenProvider
	credential := &custom{}
	credential.get = func(ctx context.Context, _ pgentra.TokenRequest) (pgentra.Token, error) {
		return provider.Token(ctx)
	}
	provider = open(t, pgentra.WithCredential(credential))
	started := time.Now()
	if _, err := provider.Token(t.Context()); !errors.Is(err, pgentra.ErrWouldDeadlock) {
		t.Error(err)
	}
	if took := time.Since(started); took > 20*time.Second {
		t.Error(took)
	}
}

func TestCustomCredential_is_stopped_by_Close(t *testing.T) {
	ended := make(chan struct{})
	credential := &custom{get: func(ctx context.Context, _ pgentra.TokenRequest) (pgentra.Token, error) {
		<-ctx.Done()
		close(ended)
		return pgentra.Token{}, ctx.Err()
	}}
	provider := open(t, pgentra.WithCredential(credential))
	waited := make(chan error)
	go func() {
		_, err := provider.Token(t.Context())
		waited <- err
	}()
	for credential.calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = provider.Close()
	if err := <-waited; !errors.Is(err, pgentra.ErrCancelled) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the context of the credential did not end")
	}
}

func TestCustomCredential_goroutines_end(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		credential := &custom{get: func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
			return pgentra.NewToken("token", time.Now().Add(time.Hour)), nil
		}}
		provider := open(t, pgentra.WithCredential(credential))
		if _, err := provider.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = provider.Close()
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestProvider_that_is_dropped_is_closed(t *testing.T) {
	credential := &custom{get: func(context.Context, pgentra.TokenRequest) (pgentra.Token, error) {
		return pgentra.NewToken("token", time.Now().Add(time.Hour)), nil
	}}
	func() {
		provider, err := pgentra.NewTokenProvider(pgentra.WithCredential(credential))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := provider.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		// A new queue means that the old one was closed: its token is gone.
		token, err := credential.GetToken(t.Context(), pgentra.TokenRequest{})
		if err != nil || token.Value() != "token" {
			t.Fatal(err)
		}
		provider := open(t, pgentra.WithCredential(credential))
		calls := credential.calls.Load()
		if _, err := provider.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		_ = provider.Close()
		if credential.calls.Load() > calls {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the provider is not closed")
		}
	}
}

func TestCredentials_serve_other_scopes(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "user_assigned", nil)
	credential, err := pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(principal.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	request := pgentra.TokenRequest{Scope: "https://management.azure.com/.default"}
	first, err := credential.GetToken(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	claims, err := pgentra.DecodeJWT(first.Value())
	if err != nil || !strings.HasPrefix(fmt.Sprint(claims["aud"]), "https://management") {
		t.Error(claims["aud"], err)
	}
	second, err := credential.GetToken(t.Context(), request)
	if err != nil || second.Value() != first.Value() || second.RefreshOn.IsZero() {
		t.Error("the token is not cached", err)
	}
}

func TestSecrets_are_not_printed(t *testing.T) {
	const secret = "canary-secret"
	credential, err := pgentra.NewClientSecretCredential("tenant", "client", secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	static, err := pgentra.NewStaticTokenCredential(secret, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	provider := open(t, pgentra.WithCredential(static), pgentra.WithUser("role"))
	login, err := provider.Login(t.Context())
	if err != nil || login.Password() != secret {
		t.Fatal(err)
	}
	token, err := provider.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	connection, err := pgentra.OpenConnection("host=db.example", pgentra.Driver{}, pgentra.WithCredential(static))
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	text := slog.New(slog.NewTextHandler(&logged, nil))
	type holder struct {
		hidden pgentra.Login
		token  pgentra.Token
		Shown  any
	}
	var shown strings.Builder
	for _, value := range []any{credential, *credential, static, login, &login, token, &token, provider, connection,
		pgentra.NewToken(secret, time.Time{}), pgentra.LoginOf("role", secret)} {
		held := holder{login, token, value}
		for _, one := range []any{value, held, &held, []any{value}, map[string]any{"key": value}} {
			fmt.Fprintf(&shown, "%v %+v %#v %s %q %x %d\n", one, one, one, one, one, one, one)
			encoded, _ := json.Marshal(one)
			shown.Write(encoded)
			logger.Info("value", "value", one)
			text.Info("value", "value", one)
		}
	}
	for _, found := range []string{shown.String(), logged.String()} {
		if strings.Contains(found, "canary") || strings.Contains(found, fmt.Sprintf("%x", secret)) {
			t.Error("a secret is shown")
		}
		if !strings.Contains(found, "[redacted]") || !strings.Contains(found, "ClientSecretCredential") {
			t.Error("nothing is shown")
		}
	}
}

func TestSetLogger_receives_events(t *testing.T) {
	emulated := emulator.Start(t)
	var lock sync.Mutex
	var logged bytes.Buffer
	pgentra.SetLogger(slog.New(slog.NewJSONHandler(locked{&lock, &logged}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer pgentra.SetLogger(slog.Default())
	_, credential := identity(t, emulated)
	if _, err := open(t, credential).Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		lock.Lock()
		found := logged.String()
		lock.Unlock()
		if strings.Contains(found, `"target":"pgentra`) && strings.Contains(found, "token fetched") {
			if strings.Contains(found, "eyJ") {
				t.Error("the log contains a token")
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal(found)
		}
	}
}

type locked struct {
	lock *sync.Mutex
	to   *bytes.Buffer
}

func (l locked) Write(text []byte) (int, error) {
	l.lock.Lock()
	defer l.lock.Unlock()
	return l.to.Write(text)
}

func TestErrorCodes_are_those_of_the_library(t *testing.T) {
	kinds, err := pgentra.ErrorKinds()
	if err != nil {
		t.Fatal(err)
	}
	declared := []pgentra.ErrorCode{
		pgentra.ErrCredentialUnavailable, pgentra.ErrAuthenticationFailed, pgentra.ErrInteractionRequired,
		pgentra.ErrServiceUnavailable, pgentra.ErrThrottled, pgentra.ErrNetwork, pgentra.ErrUntrustedCertificate,
		pgentra.ErrTimeout, pgentra.ErrBadResponse, pgentra.ErrDeadOnArrival, pgentra.ErrTokenDecode,
		pgentra.ErrUsernameExtraction, pgentra.ErrScopePermission, pgentra.ErrCredentialValue,
		pgentra.ErrInvalidConfiguration, pgentra.ErrInvalidConnection, pgentra.ErrInsecureTransport,
		pgentra.ErrWouldDeadlock, pgentra.ErrShuttingDown, pgentra.ErrCancelled, pgentra.ErrCustomCredential,
		pgentra.ErrInternal, pgentra.ErrInvalidArgument,
	}
	if !reflect.DeepEqual(kinds, declared) {
		t.Errorf("%v", kinds)
	}
}

func TestVersion_is_that_of_the_header(t *testing.T) {
	if found := pgentra.Version(); found != pgentra.HeaderVersion {
		t.Errorf("%s, the header %s", found, pgentra.HeaderVersion)
	}
}
