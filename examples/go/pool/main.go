// A pool of pgx: PGHOST=... PGDATABASE=... go run ./pool
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	// Each new connection of the pool logs in with a valid token. Without a credential, the default chain finds the identity: a
	// managed identity, a workload identity, or the user that is signed in to az. The server is taken from PGHOST and PGDATABASE.
	pool, err := pgxentra.NewPool(ctx, "pool_max_conns=5")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	var role string
	if err := pool.QueryRow(ctx, "select current_user").Scan(&role); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("pool: logged in as %s after %d ms\n", role, time.Since(started).Milliseconds())
}
