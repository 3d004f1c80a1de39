// A pool whose credential is one of azidentity: PGHOST=... PGDATABASE=... go run ./azure
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/azcoreentra"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	started := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	credential, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		log.Fatal(err)
	}
	pool, err := pgxentra.NewPool(ctx, "", pgentra.WithCredential(azcoreentra.FromAzure(credential)))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	var role string
	if err := pool.QueryRow(ctx, "select current_user").Scan(&role); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("azure: logged in as %s after %d ms\n", role, time.Since(started).Milliseconds())
}
