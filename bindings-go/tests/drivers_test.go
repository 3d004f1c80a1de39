package tests

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
	"github.com/pgentra/pgentra/bindings-go/pqentra"
)

// One run of every driver over sslmode=verify-full: the token expires several times, and then its source is down while it is valid.
func TestEveryDriver_across_expiry_and_in_an_outage(t *testing.T) {
	emulated := emulator.Start(t)
	emulated.SetTokens(t, emulator.Object{"lifetime_s": 8})
	identity := emulated.Add(t, "user_assigned", nil)
	credential := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(identity.ClientID)}))
	option := pgentra.WithCredential(credential)
	pool, err := pgxentra.NewPool(t.Context(), emulated.ConnString(), option)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	databases := map[string]*sql.DB{
		"database/sql": made[*sql.DB](t)(pgxentra.OpenDB(emulated.ConnString(), option)),
		"lib/pq":       made[*sql.DB](t)(pqentra.OpenDB(emulated.ConnString(), option)),
	}
	for _, db := range databases {
		db.SetMaxIdleConns(0)
		defer func() { _ = db.Close() }()
	}
	logins := map[string]int{}
	logIn := func() {
		t.Helper()
		var role string
		pool.Reset()
		if err := pool.QueryRow(t.Context(), currentUser).Scan(&role); err != nil || role != identity.Name {
			t.Fatal("pgx pool", role, err)
		}
		logins["pgx pool"]++
		for name, db := range databases {
			if err := db.QueryRowContext(context.Background(), currentUser).Scan(&role); err != nil || role != identity.Name {
				t.Fatal(name, role, err)
			}
			logins[name]++
		}
	}
	for len(emulated.Requests(t, identity.Name)) < 3 {
		logIn()
		time.Sleep(100 * time.Millisecond)
	}
	emulated.Fault(t, emulator.Object{"endpoint": "app_service", "status": 503})
	before := len(emulated.Requests(t, identity.Name))
	for range 3 {
		logIn()
	}
	emulated.ClearFaults(t)
	for len(emulated.Requests(t, identity.Name)) <= before {
		logIn()
		time.Sleep(100 * time.Millisecond)
	}
	for _, login := range emulated.Logins(t) {
		if login["outcome"] != "logged_in" || login["tls"] != true {
			t.Errorf("%v", login)
		}
	}
	if sent := emulated.PlaintextBytes(t); sent != 0 {
		t.Errorf("%d bytes of a token were sent in plaintext", sent)
	}
	t.Logf("logins: %v", logins)
}
