// A pool whose tokens come from a function of the program, which here asks a managed identity:
// PGHOST=... PGDATABASE=... go run ./custom
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	source, err := pgentra.NewManagedIdentityCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	// It is called when a token is due, once for all connections.
	credential := pgentra.CredentialFunc(func(ctx context.Context, request pgentra.TokenRequest) (pgentra.Token, error) {
		token, err := source.GetToken(ctx, request)
		if err != nil {
			return pgentra.Token{}, err
		}
		return pgentra.NewToken(token.Value(), token.ExpiresOn), nil
	})
	provider, err := pgentra.NewTokenProvider(pgentra.WithCredential(credential))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = provider.Close() }()
	// A pool with a configuration of one's own.
	config, err := pgxpool.ParseConfig("")
	if err != nil {
		log.Fatal(err)
	}
	config.BeforeConnect = pgxentra.BeforeConnect(provider)
	if config.ConnConfig.Tracer, err = pgxentra.NewTracer(provider, config.ConnString(), nil); err != nil {
		log.Fatal(err)
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	var role string
	if err := pool.QueryRow(ctx, "select current_user").Scan(&role); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("custom: logged in as %s after %d ms\n", role, time.Since(started).Milliseconds())
}
