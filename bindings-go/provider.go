package pgentra

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A TokenProvider returns logins and tokens. Open one for the program, and call [TokenProvider.Login] for every new
// connection: it returns the cached token without a lock and without an allocation, and renews it before it expires.
// Providers with equal settings share one cached token. All methods may be called by several goroutines at once.
type TokenProvider struct{ inner *provider }

// provider is what goroutines hold, so that a TokenProvider that the program has dropped is closed.
type provider struct {
	handle providerHandle
	// The current ones. Their ids tell the library that they need not be copied again.
	login atomic.Pointer[copied[Login]]
	token atomic.Pointer[copied[Token]]

	isCached   bool
	limit      time.Duration
	credential TokenCredential
	queues     []*queue
	settings   *settings

	waits   waits
	closing sync.Once
	closed  chan struct{}
}

type copied[T any] struct {
	id    uint64
	value T
}

// NewTokenProvider opens a provider. It fetches nothing.
func NewTokenProvider(options ...Option) (*TokenProvider, error) {
	return newProvider(newSettings(options))
}

func newProvider(given *settings) (*TokenProvider, error) {
	config := map[string]any{}
	for key, value := range given.config {
		config[key] = value
	}
	if connector, ok := given.request["service_connector"]; ok && connector != false {
		plan, err := planConnection(given, Driver{}, map[string]any{})
		if err != nil {
			return nil, err
		}
		if plan.Config != nil {
			config = plan.Config
		}
	}
	config["environment"] = environmentOf(given.environment, configVariables())
	made := &provider{
		isCached:   config["cache"] != false,
		limit:      30 * time.Second,
		credential: given.credential,
		settings:   given,
		closed:     make(chan struct{}),
	}
	if seconds, ok := config["timeout"].(float64); ok {
		made.limit = time.Duration(seconds * float64(time.Second))
	}
	handle, err := made.openCredential(config)
	if err == nil {
		made.handle, err = openProvider(config, handle)
	}
	if err != nil {
		made.release()
		return nil, err
	}
	opened := &TokenProvider{made}
	runtime.AddCleanup(opened, (*provider).close, made)
	return opened, nil
}

// openCredential puts a credential of the library into the configuration, or returns the handle of another one.
func (p *provider) openCredential(config map[string]any) (credentialHandle, error) {
	if p.credential == nil {
		return nil, nil
	}
	if isNil(p.credential) {
		return nil, newError(ErrCredentialValue, "the credential is nil", "Pass a credential, or leave out WithCredential.", "")
	}
	given, ok := p.credential.(builtinCredential)
	if !ok {
		found, err := acquireQueue(p.credential)
		if err != nil {
			return nil, err
		}
		p.queues = []*queue{found}
		return found.handle, nil
	}
	described := given.self()
	if len(described.members) == 0 {
		config["credential"] = described.document()
		if described.caFile != "" && config["ca_file"] == nil {
			config["ca_file"] = described.caFile
		}
		return nil, nil
	}
	opened, err := described.open()
	if err != nil {
		return nil, err
	}
	p.queues = opened.queues
	return opened.handle, nil
}

// release gives up a custom credential. The queues of a credential of the library belong to it.
func (p *provider) release() {
	if _, ok := p.credential.(builtinCredential); ok {
		return
	}
	for _, one := range p.queues {
		releaseQueue(one)
	}
}

// Close ends the waits of this provider with an error that matches [ErrCancelled]. The tokens stay cached for other providers. A
// provider that is not closed is closed when it is collected.
func (t *TokenProvider) Close() error {
	t.inner.close()
	return nil
}

func (p *provider) close() {
	p.closing.Do(func() {
		close(p.closed)
		closeProvider(p.handle)
		p.release()
	})
}

// Login returns the role and the token to log in with. It waits only while no usable token is cached, at most until the
// context ends, and at most for the time of [WithTimeout]. The fetch continues for other callers.
func (t *TokenProvider) Login(ctx context.Context) (Login, error) {
	if err := ctx.Err(); err != nil {
		return Login{}, contextError(ctx, nil)
	}
	p := t.inner
	have := p.login.Load()
	id := uint64(0)
	if have != nil {
		id = have.id
	}
	found, login, err := tryLogin(p.handle, id)
	if login == nil && err == nil && found != 0 && found == id {
		return have.value, nil
	}
	defer runtime.KeepAlive(t)
	return p.coldLogin(ctx, found, login, err)
}

func (p *provider) coldLogin(ctx context.Context, id uint64, login *Login, err error) (Login, error) {
	if err != nil {
		return Login{}, p.explainClosed(err)
	}
	if login == nil {
		login, err = shared(ctx, p, "login", blockingLogin)
		if err != nil {
			return Login{}, err
		}
		// The copy for later calls.
		var kept *Login
		if id, kept, err = tryLogin(p.handle, 0); err != nil || kept == nil {
			return *login, nil
		}
		p.login.Store(&copied[Login]{id, *kept})
		return *login, nil
	}
	p.login.Store(&copied[Login]{id, *login})
	return *login, nil
}

// Token returns the token alone, for programs that know the role. It waits as [TokenProvider.Login] does.
func (t *TokenProvider) Token(ctx context.Context) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, contextError(ctx, nil)
	}
	p := t.inner
	have := p.token.Load()
	id := uint64(0)
	if have != nil {
		id = have.id
	}
	found, token, err := tryToken(p.handle, id)
	if token == nil && err == nil && found != 0 && found == id {
		return have.value, nil
	}
	defer runtime.KeepAlive(t)
	if err != nil {
		return Token{}, p.explainClosed(err)
	}
	if token == nil {
		token, err = shared(ctx, p, "token", blockingToken)
		if err != nil {
			return Token{}, err
		}
		return *token, nil
	}
	p.token.Store(&copied[Token]{found, *token})
	return *token, nil
}

// Invalidate reports that the server rejected a login with this password. It returns true if a newer token is available: then
// log in once more with [TokenProvider.Login]. Otherwise report the server's error. It waits for the newer token as
// [TokenProvider.Login] does.
func (t *TokenProvider) Invalidate(ctx context.Context, password string) (bool, error) {
	defer runtime.KeepAlive(t)
	p := t.inner
	newer, err := shared(ctx, p, "invalidate "+password, func(handle providerHandle, limit int) (*bool, error) {
		renewed, err := blockingInvalidate(handle, withoutNUL(password), limit)
		return &renewed, err
	})
	if err != nil {
		return false, err
	}
	return *newer, nil
}

// Stats returns the provider's statistics. It fetches nothing.
func (t *TokenProvider) Stats() (TokenStats, error) {
	defer runtime.KeepAlive(t)
	stats, err := nativeProviderStats(t.inner.handle)
	if err != nil {
		return stats, t.inner.explainClosed(err)
	}
	return stats, nil
}

// String returns the name of the type.
func (t *TokenProvider) String() string { return "TokenProvider" }

// GoString returns the name of the type.
func (t *TokenProvider) GoString() string { return "TokenProvider" }

func (p *provider) explainClosed(err error) error {
	select {
	case <-p.closed:
		return closedError()
	default:
		return err
	}
}

// waits are the blocking calls that are under way. One goroutine blocks a thread for all callers of the same call.
type waits struct {
	lock  sync.Mutex
	found map[string]any
}

type wait[T any] struct {
	done  chan struct{}
	value *T
	err   error
}

// join returns the call with this key, and whether it is new.
func join[T any](w *waits, key string) (*wait[T], bool) {
	w.lock.Lock()
	defer w.lock.Unlock()
	if found, ok := w.found[key].(*wait[T]); ok {
		return found, false
	}
	made := &wait[T]{done: make(chan struct{})}
	if w.found == nil {
		w.found = map[string]any{}
	}
	w.found[key] = made
	return made, true
}

func (w *waits) leave(key string) {
	w.lock.Lock()
	defer w.lock.Unlock()
	delete(w.found, key)
}

// shared waits for a blocking call of the library, which all callers with the same key share.
func shared[T any](
	ctx context.Context, p *provider, key string, call func(handle providerHandle, limit int) (*T, error),
) (*T, error) {
	if isInside(ctx, p.queues) {
		return nil, newError(ErrWouldDeadlock, "a token was requested inside the credential's own call", "", "")
	}
	started := time.Now()
	for {
		var joined *wait[T]
		isNew := true
		if p.isCached {
			joined, isNew = join[T](&p.waits, key)
		} else {
			// Each caller gets a token of its own.
			joined = &wait[T]{done: make(chan struct{})}
		}
		if isNew {
			go func() {
				joined.value, joined.err = call(p.handle, -1)
				if p.isCached {
					p.waits.leave(key)
				}
				close(joined.done)
			}()
		}
		select {
		case <-joined.done:
			// The call of an earlier caller may end before this caller's own limit.
			if !isNew && errors.Is(joined.err, ErrTimeout) && time.Since(started) < p.limit*9/10 {
				continue
			}
			if joined.err != nil {
				return nil, p.explainClosed(joined.err)
			}
			return joined.value, nil
		case <-p.closed:
			return nil, closedError()
		case <-ctx.Done():
			return nil, contextError(ctx, p.knownError())
		}
	}
}

// knownError returns the error of a wait that ends now, with the last failure of the fetch.
func (p *provider) knownError() error {
	if !p.isCached {
		return nil
	}
	_, err := blockingToken(p.handle, 0)
	if !errors.Is(err, ErrTimeout) {
		return nil
	}
	return err
}
