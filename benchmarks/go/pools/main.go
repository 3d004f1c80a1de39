// The pool of benchmarks/soak.py in Go: pgx, a line for each login.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

const (
	size     = 4
	kept     = time.Second
	waitsFor = 30 * time.Second
)

var lines sync.Mutex

func main() {
	pool, err := pgxentra.NewPool(context.Background(), fmt.Sprintf("sslmode=verify-full pool_max_conns=%d", size))
	if err != nil {
		log.Fatal(err)
	}
	for range size {
		go repeat(pool)
	}
	// Standard input ends when the program is to end.
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func repeat(pool *pgxpool.Pool) {
	for {
		began := time.Now()
		role, release, err := logIn(pool)
		text := ""
		if err != nil {
			text = strings.Join(strings.Fields(err.Error()), " ")
		}
		lines.Lock()
		fmt.Printf("pgxpool\t%.3f\t%.3f\t%s\t%s\n", float64(began.UnixMilli())/1e3, time.Since(began).Seconds(), role, text)
		lines.Unlock()
		if err != nil {
			time.Sleep(kept / 5)
			continue
		}
		time.Sleep(kept)
		release()
	}
}

// logIn returns the role of a new connection, and the function that closes the connection.
func logIn(pool *pgxpool.Pool) (string, func(), error) {
	ctx, cancel := context.WithTimeout(context.Background(), waitsFor)
	defer cancel()
	connection, err := pool.Acquire(ctx)
	if err != nil {
		return "", nil, err
	}
	release := func() {
		_ = connection.Hijack().Close(context.Background())
	}
	var role string
	if err := connection.QueryRow(ctx, "select current_user").Scan(&role); err != nil {
		release()
		return "", nil, err
	}
	return role, release, nil
}
