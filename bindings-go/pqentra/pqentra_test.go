package pqentra_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pqentra"
)

func TestMain(m *testing.M) { emulator.Main(m) }

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

func open(t *testing.T, connString string, options ...pgentra.Option) *sql.DB {
	t.Helper()
	db, err := pqentra.OpenDB(connString, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	db.SetMaxIdleConns(0)
	return db
}

func roleOf(ctx context.Context, db *sql.DB) (role string, err error) {
	return role, db.QueryRowContext(ctx, "select current_user::text").Scan(&role)
}

func TestOpenDB_logs_in(t *testing.T) {
	emulated := emulator.Start(t)
	principal, credential := identity(t, emulated)
	if role, err := roleOf(t.Context(), open(t, emulated.ConnString()+" search_path=public", credential)); err != nil || role != principal.Name {
		t.Fatal(role, err)
	}
	address := fmt.Sprintf("postgres://localhost:%s/%s?sslmode=verify-full&sslrootcert=%s",
		emulated.Text("postgres", "port"), emulated.Text("postgres", "database"), emulated.Text("ca_file"))
	if role, err := roleOf(t.Context(), open(t, address, credential)); err != nil || role != principal.Name {
		t.Fatal(role, err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 1 {
		t.Errorf("%d token requests", found)
	}
}

func TestOpenDB_explicit_user_and_password(t *testing.T) {
	emulated := emulator.Start(t)
	principal, credential := identity(t, emulated)
	given := emulated.ConnString() + " user=" + principal.Name + " password=" + emulated.Mint(t, principal.Name, nil)
	if role, err := roleOf(t.Context(), open(t, given, credential)); err != nil || role != principal.Name {
		t.Fatal(role, err)
	}
	if found := len(emulated.Requests(t, principal.Name)); found != 0 {
		t.Errorf("%d token requests with a password", found)
	}
	if _, err := pqentra.OpenDB(given, credential, pgentra.WithRequireEntra(true)); !errors.Is(err, pgentra.ErrInvalidConnection) {
		t.Error(err)
	}
}

func TestOpenDB_sends_no_token_in_plaintext(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.ControlPostgres(t, emulator.Object{"plaintext": true})
	_, credential := identity(t, emulated)
	for _, mode := range []string{"", "allow", "prefer", "require", "verify-full", "disable"} {
		// An address that is not loopback, and one by hostaddr.
		for _, host := range []string{"0.0.0.0", "localhost hostaddr=0.0.0.0"} {
			given := emulated.Address(host)
			if mode != "" {
				given += " sslmode=" + mode
			}
			db, err := pqentra.OpenDB(given, credential)
			if err == nil {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				err = db.PingContext(ctx)
				cancel()
				_ = db.Close()
			}
			if err == nil {
				t.Errorf("%s: logged in", given)
			}
			if mode == "disable" && !errors.Is(err, pgentra.ErrInsecureTransport) {
				t.Errorf("sslmode disable: %v", err)
			}
		}
	}
	if sent := emulated.PlaintextBytes(t); sent != 0 {
		t.Errorf("%d bytes of a token were sent in plaintext", sent)
	}
}

func TestOpenDB_across_expiry_a_rejection_and_an_outage(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 8})
	principal, credential := identity(t, emulated)
	db := open(t, emulated.ConnString(), credential)
	logIn := func() {
		t.Helper()
		if role, err := roleOf(t.Context(), db); err != nil || role != principal.Name {
			t.Fatal(role, err)
		}
	}
	for len(emulated.Requests(t, principal.Name)) < 3 {
		logIn()
		time.Sleep(200 * time.Millisecond)
	}
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "status": 503})
	for range 3 {
		logIn()
	}
	emulated.ClearFaults(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 40})
	before := len(emulated.Requests(t, principal.Name))
	for len(emulated.Requests(t, principal.Name)) <= before {
		logIn()
		time.Sleep(200 * time.Millisecond)
	}
	// A token is worth a retry only if it is older than a tenth of its lifetime.
	time.Sleep(4200 * time.Millisecond)
	emulated.ControlPostgres(t, emulator.Object{"refuse_next": 1, "refuse_with": "token_expired"})
	logIn()
	if sent := emulated.PlaintextBytes(t); sent != 0 {
		t.Errorf("%d bytes of a token were sent in plaintext", sent)
	}
}

func TestOpenDB_a_login_error_is_explained(t *testing.T) {
	emulated := emulator.Start(t)
	principal, credential := identity(t, emulated)
	_, err := roleOf(t.Context(), open(t, emulated.ConnString()+" user=no-such-role", credential))
	var explained *pgentra.LoginError
	var failed *pq.Error
	if !errors.As(err, &explained) || !errors.As(err, &failed) {
		t.Fatal(err)
	}
	for _, part := range []string{"no-such-role", principal.ObjectID} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s is not in: %v", part, err)
		}
	}
}

func TestOpenDB_a_context_ends_the_wait(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "connection": "black_hole"})
	defer emulated.ClearFaults(t)
	_, credential := identity(t, emulated)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := open(t, emulated.ConnString(), credential).PingContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
