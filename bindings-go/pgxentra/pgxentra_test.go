package pgxentra_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func TestMain(m *testing.M) { emulator.Main(m) }

const currentUser = "select current_user::text"

// identity returns an identity without a cached token, and the option that selects it.
func identity(t *testing.T, emulated *emulator.Emulator) (emulator.Principal, pgentra.Option) {
	t.Helper()
	principal := emulated.Add(t, "user_assigned", nil)
	credential, err := pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(principal.ClientID)})
	if err != nil {
		t.Fatal(err)
	}
	return principal, pgentra.WithCredential(credential)
}

// ways are the functions that open connections. Each returns the role.
var ways = map[string]func(ctx context.Context, connString string, options ...pgentra.Option) (string, error){
	"NewPool": func(ctx context.Context, connString string, options ...pgentra.Option) (role string, err error) {
		pool, err := pgxentra.NewPool(ctx, connString, options...)
		if err != nil {
			return "", err
		}
		defer pool.Close()
		return role, pool.QueryRow(ctx, currentUser).Scan(&role)
	},
	"Connect": func(ctx context.Context, connString string, options ...pgentra.Option) (role string, err error) {
		connection, err := pgxentra.Connect(ctx, connString, options...)
		if err != nil {
			return "", err
		}
		defer func() { _ = connection.Close(ctx) }()
		return role, connection.QueryRow(ctx, currentUser).Scan(&role)
	},
	"OpenDB": func(ctx context.Context, connString string, options ...pgentra.Option) (role string, err error) {
		db, err := pgxentra.OpenDB(connString, options...)
		if err != nil {
			return "", err
		}
		defer func() { _ = db.Close() }()
		return role, db.QueryRowContext(ctx, currentUser).Scan(&role)
	},
	"BeforeConnect": func(ctx context.Context, connString string, options ...pgentra.Option) (role string, err error) {
		provider, err := pgentra.NewTokenProvider(options...)
		if err != nil {
			return "", err
		}
		defer func() { _ = provider.Close() }()
		config, err := pgxpool.ParseConfig(connString)
		if err != nil {
			return "", err
		}
		config.BeforeConnect = pgxentra.BeforeConnect(provider)
		pool, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			return "", err
		}
		defer pool.Close()
		return role, pool.QueryRow(ctx, currentUser).Scan(&role)
	},
	"BeforeConnect of stdlib": func(ctx context.Context, connString string, options ...pgentra.Option) (role string, err error) {
		provider, err := pgentra.NewTokenProvider(options...)
		if err != nil {
			return "", err
		}
		defer func() { _ = provider.Close() }()
		config, err := pgx.ParseConfig(connString)
		if err != nil {
			return "", err
		}
		db := stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(pgxentra.BeforeConnect(provider)))
		defer func() { _ = db.Close() }()
		return role, db.QueryRowContext(ctx, currentUser).Scan(&role)
	},
}

func eachWay(t *testing.T, run func(t *testing.T, connect func(context.Context, string, ...pgentra.Option) (string, error))) {
	t.Helper()
	for name, connect := range ways {
		t.Run(name, func(t *testing.T) { run(t, connect) })
	}
}

func TestConnections_log_in(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(context.Context, string, ...pgentra.Option) (string, error)) {
		emulated := emulator.Start(t)
		principal, credential := identity(t, emulated)
		role, err := connect(t.Context(), emulated.ConnString(), credential)
		if err != nil || role != principal.Name {
			t.Fatal(role, err)
		}
		address := &url.URL{
			Scheme: "postgres", Host: "localhost:" + emulated.Text("postgres", "port"), Path: emulated.Text("postgres", "database"),
			RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {emulated.Text("ca_file")}}.Encode(),
		}
		if role, err = connect(t.Context(), address.String(), credential); err != nil || role != principal.Name {
			t.Fatal(role, err)
		}
		if found := len(emulated.Requests(t, principal.Name)); found != 1 {
			t.Errorf("%d token requests", found)
		}
	})
}

func TestConnections_explicit_user_and_password(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(context.Context, string, ...pgentra.Option) (string, error)) {
		emulated := emulator.Start(t)
		principal, credential := identity(t, emulated)
		token := emulated.Mint(t, principal.Name, nil)
		given := emulated.ConnString() + " user=" + principal.Name
		if role, err := connect(t.Context(), given, credential); err != nil || role != principal.Name {
			t.Fatal(role, err)
		}
		emulated.Call(t, "DELETE", "/requests", nil)
		withPassword := given + " password=" + token
		_, other := identity(t, emulated)
		if role, err := connect(t.Context(), withPassword, other); err != nil || role != principal.Name {
			t.Fatal(role, err)
		}
		if found := len(emulated.Requests(t, principal.Name)); found != 0 {
			t.Errorf("%d token requests with a password", found)
		}
		if _, err := connect(t.Context(), withPassword, other, pgentra.WithRequireEntra(true)); !errors.Is(err, pgentra.ErrInvalidConnection) {
			t.Errorf("require entra: %v", err)
		}
		ignored := given + " password=wrong"
		if role, err := connect(t.Context(), ignored, credential, pgentra.WithIgnorePassword(true)); err != nil || role != principal.Name {
			t.Error(role, err)
		}
		t.Setenv("PGUSER", principal.Name)
		if role, err := connect(t.Context(), emulated.ConnString(), credential); err != nil || role != principal.Name {
			t.Error(role, err)
		}
	})
}

// A name of this machine that is not loopback, so that it counts as remote.
const notLoopback = "0.0.0.0"

func TestConnections_send_no_token_in_plaintext(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(context.Context, string, ...pgentra.Option) (string, error)) {
		emulated := emulator.Start(t)
		emulated.ControlPostgres(t, emulator.Object{"plaintext": true})
		_, credential := identity(t, emulated)
		for _, mode := range []string{"", "allow", "prefer", "require", "verify-full", "disable"} {
			given := emulated.Address(notLoopback)
			if mode != "" {
				given += " sslmode=" + mode
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			role, err := connect(ctx, given, credential)
			cancel()
			if err == nil {
				t.Errorf("sslmode %q: logged in as %s", mode, role)
			}
			if mode == "disable" && !errors.Is(err, pgentra.ErrInsecureTransport) {
				t.Errorf("sslmode disable: %v", err)
			}
		}
		if sent := emulated.PlaintextBytes(t); sent != 0 {
			t.Errorf("%d bytes of a token were sent in plaintext", sent)
		}
	})
}

func TestConnections_plaintext_where_it_is_allowed(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.ControlPostgres(t, emulator.Object{"plaintext": true})
	_, credential := identity(t, emulated)
	allowed := pgentra.WithAllowInsecureTransport(true)
	_, _ = ways["Connect"](t.Context(), emulated.Address(notLoopback)+" sslmode=disable", credential, allowed)
	// The tests above can fail: the emulator counts what it receives.
	if sent := emulated.PlaintextBytes(t); sent == 0 {
		t.Error("no byte was counted")
	}
}

func TestBeforeConnect_a_host_that_the_program_set(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.ControlPostgres(t, emulator.Object{"plaintext": true})
	_, credential := identity(t, emulated)
	provider, err := pgentra.NewTokenProvider(credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = provider.Close() }()
	config, err := pgx.ParseConfig(emulated.Address("localhost") + " sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.Host = notLoopback
	if err := pgxentra.BeforeConnect(provider)(t.Context(), config); !errors.Is(err, pgentra.ErrInsecureTransport) {
		t.Error(err)
	}
	if config.Password != "" {
		t.Error("the configuration has a password")
	}
}

func TestConnections_a_rejected_login_is_retried_once(t *testing.T) {
	for _, name := range []string{"Connect", "OpenDB"} {
		t.Run(name, func(t *testing.T) {
			emulated := emulator.Start(t)
			emulated.SetTokens(t, emulator.Object{"lifetime_s": 40})
			principal, credential := identity(t, emulated)
			if _, err := ways[name](t.Context(), emulated.ConnString(), credential); err != nil {
				t.Fatal(err)
			}
			// A token is worth a retry only if it is older than a tenth of its lifetime.
			time.Sleep(4200 * time.Millisecond)
			emulated.ControlPostgres(t, emulator.Object{"refuse_next": 1, "refuse_with": "token_expired"})
			if role, err := ways[name](t.Context(), emulated.ConnString(), credential); err != nil || role != principal.Name {
				t.Fatal(role, err)
			}
			if found := len(emulated.Requests(t, principal.Name)); found != 2 {
				t.Errorf("%d token requests", found)
			}
		})
	}
}

func TestNewPool_heals_after_a_rejected_login(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 40})
	principal, credential := identity(t, emulated)
	pool, err := pgxentra.NewPool(t.Context(), emulated.ConnString()+" pool_max_conns=3 pool_max_conn_lifetime=1h", credential)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if found := pool.Config().MaxConns; found != 3 {
		t.Error(found)
	}
	var role string
	if err := pool.QueryRow(t.Context(), currentUser).Scan(&role); err != nil {
		t.Fatal(err)
	}
	time.Sleep(4200 * time.Millisecond)
	pool.Reset()
	emulated.ControlPostgres(t, emulator.Object{"refuse_next": 1, "refuse_with": "token_expired"})
	err = pool.QueryRow(t.Context(), currentUser).Scan(&role)
	var failed *pgconn.PgError
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if err := pool.QueryRow(t.Context(), currentUser).Scan(&role); err != nil || role != principal.Name {
		t.Fatal(role, err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 2 {
		t.Errorf("%d token requests", found)
	}
}

func TestConnections_a_login_error_is_explained(t *testing.T) {
	for _, name := range []string{"Connect", "OpenDB"} {
		emulated := emulator.Start(t)
		principal, credential := identity(t, emulated)
		_, err := ways[name](t.Context(), emulated.ConnString()+" user=no-such-role", credential)
		var explained *pgentra.LoginError
		if !errors.As(err, &explained) {
			t.Fatal(err)
		}
		var failed *pgconn.PgError
		if !errors.As(err, &failed) {
			t.Error("the driver's error is not wrapped")
		}
		for _, part := range []string{"no-such-role", principal.ObjectID} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s is not in: %v", part, err)
			}
		}
		if strings.Contains(err.Error(), "eyJ") {
			t.Error("the error contains a token")
		}
	}
}

// One run: the token expires several times, and then its source is down while it is valid.
func TestConnections_across_expiry_and_in_an_outage(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 8})
	principal, credential := identity(t, emulated)
	pool, err := pgxentra.NewPool(t.Context(), emulated.ConnString(), credential)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	db, err := pgxentra.OpenDB(emulated.ConnString(), credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	db.SetMaxIdleConns(0)
	logIn := func() {
		t.Helper()
		pool.Reset()
		var role string
		if err := pool.QueryRow(t.Context(), currentUser).Scan(&role); err != nil || role != principal.Name {
			t.Fatal("pool", role, err)
		}
		if err := db.QueryRowContext(t.Context(), currentUser).Scan(&role); err != nil || role != principal.Name {
			t.Fatal("database/sql", role, err)
		}
	}
	for len(emulated.Requests(t, principal.Name)) < 3 {
		logIn()
		time.Sleep(200 * time.Millisecond)
	}
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "status": 503})
	before := len(emulated.Requests(t, principal.Name))
	for range 3 {
		logIn()
	}
	emulated.ClearFaults(t)
	for len(emulated.Requests(t, principal.Name)) <= before {
		logIn()
		time.Sleep(200 * time.Millisecond)
	}
	if sent := emulated.PlaintextBytes(t); sent != 0 {
		t.Errorf("%d bytes of a token were sent in plaintext", sent)
	}
}

func TestNewPool_200_goroutines_send_one_request(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "latency_ms": 300})
	principal, credential := identity(t, emulated)
	pool, err := pgxentra.NewPool(t.Context(), emulated.ConnString()+" pool_max_conns=20", credential)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	var group sync.WaitGroup
	failures := make(chan error, 200)
	for range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			if _, err := pool.Exec(t.Context(), "select 1"); err != nil {
				failures <- err
			}
		}()
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 1 {
		t.Errorf("%d token requests", found)
	}
}

func TestConnections_a_context_ends_the_wait(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "connection": "black_hole"})
	defer emulated.ClearFaults(t)
	_, credential := identity(t, emulated)
	db, err := pgxentra.OpenDB(emulated.ConnString(), credential)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err = db.PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	// connect_timeout limits the wait for a token too.
	limited, err := pgxentra.OpenDB(emulated.ConnString()+" connect_timeout=2", credential)
	if err != nil {
		t.Fatal(err)
	}
	if err = limited.PingContext(t.Context()); !errors.Is(err, pgentra.ErrTimeout) {
		t.Error(err)
	}
	if err := errors.Join(db.Close(), limited.Close()); err != nil {
		t.Error(err)
	}
}

func TestConnections_print_no_secret(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "service_principal", nil)
	credential, err := pgentra.NewClientSecretCredential(emulated.Text("tenant_id"), principal.ClientID, principal.Secret,
		&pgentra.ClientSecretCredentialOptions{ClientOptions: pgentra.ClientOptions{AuthorityHost: emulated.Text("authority_host")}})
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	pool, err := pgxentra.NewPool(
		t.Context(), emulated.ConnString(), pgentra.WithCredential(credential), pgentra.WithUser(principal.Name))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	for _, value := range []any{credential, *credential, pool.Config(), pool.Config().ConnConfig} {
		encoded, _ := json.Marshal(value)
		fmt.Fprintf(&shown, "%v %+v %#v %s\n", value, value, value, encoded)
		logger.Info("value", "value", value)
	}
	for _, text := range []string{shown.String(), logged.String()} {
		if strings.Contains(text, "canary") || strings.Contains(text, "eyJ") {
			t.Error("a secret is shown")
		}
	}
}

func TestNewConnector_wrong_settings(t *testing.T) {
	for given, code := range map[string]pgentra.ErrorCode{
		"host=db.example sslmode=disable":    pgentra.ErrInsecureTransport,
		"host=db.example hostaddr=127.0.0.1": pgentra.ErrInvalidConnection,
		"host db.example":                    pgentra.ErrInvalidConnection,
		"host=db.example password='a\x00b'":  pgentra.ErrInvalidConnection,
	} {
		_, err := pgxentra.NewConnector(given)
		if !errors.Is(err, code) || strings.Contains(fmt.Sprint(err), "pa55word") {
			t.Errorf("%q: %v", given, err)
		}
	}
	// pgx's own error.
	if _, err := pgxentra.NewConnector("postgres://u:pa55word@db.example:x"); err == nil || strings.Contains(err.Error(), "pa55word") {
		t.Error(err)
	}
	var none *sql.DB
	if db, err := pgxentra.OpenDB("host=db.example", pgentra.WithScope("")); err == nil || db != none {
		t.Error("an empty scope is accepted")
	}
}
