// database/sql over pgx, with options: PGHOST=... PGDATABASE=... go run ./sql
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	db, err := pgxentra.OpenDB("", pgentra.WithRequireEntra(true), pgentra.WithTimeout(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var role string
	err = db.QueryRowContext(ctx, "select current_user").Scan(&role)
	// What a program may want to know about an error.
	var failed *pgentra.Error
	var rejected *pgentra.LoginError
	switch {
	case errors.Is(err, pgentra.ErrCredentialUnavailable):
		log.Fatal("no identity is set up on this machine: ", err)
	case errors.As(err, &failed):
		log.Fatalf("no token (%s, AADSTS%d, transient: %v): %v", failed.Code, failed.AADSTS, failed.Transient, err)
	case errors.As(err, &rejected):
		log.Fatalf("the server rejected the login (%s): %v", rejected.Cause, err)
	case err != nil:
		log.Fatal(err)
	}
	fmt.Printf("sql: logged in as %s after %d ms\n", role, time.Since(started).Milliseconds())
}
