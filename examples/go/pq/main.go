// database/sql over lib/pq: PGHOST=... PGDATABASE=... go run ./pq
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/pgentra/pgentra/bindings-go/pqentra"
)

func main() {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	db, err := pqentra.OpenDB("")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var role string
	if err := db.QueryRowContext(ctx, "select current_user").Scan(&role); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("pq: logged in as %s after %d ms\n", role, time.Since(started).Milliseconds())
}
