// One measurement in a process of its own, so that what is cold is cold: MEASURE ours|peer. The result is a line of JSON.
//
// The variable PGENTRA_BENCHMARK holds where the emulator is and who is registered in it. benchmarks/run.py sets the faults, counts
// the requests and takes the medians. The peer is azidentity.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/pgentra/pgentra/bindings-go"
)

const (
	scope     = "https://ossrdbms-aad.database.windows.net/.default"
	warmCalls = 1_000_000
	callers   = 200
)

type settings struct {
	AuthorityHost string `json:"authority_host"`
	TenantID      string `json:"tenant_id"`
	ClientID      string `json:"client_id"`
	ClientSecret  string `json:"client_secret"`
}

// login returns what a driver needs for a connection.
type login func(ctx context.Context) error

func check[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func ours(given settings, identity bool) login {
	options := []pgentra.Option{}
	if identity {
		options = append(options, pgentra.WithCredential(check(pgentra.NewManagedIdentityCredential(nil))))
	} else {
		options = append(options, pgentra.WithCredential(check(pgentra.NewClientSecretCredential(given.TenantID, given.ClientID,
			given.ClientSecret, &pgentra.ClientSecretCredentialOptions{
				ClientOptions: pgentra.ClientOptions{AuthorityHost: given.AuthorityHost},
			}))))
	}
	pgentra.SetLogger(slog.New(slog.DiscardHandler))
	provider := check(pgentra.NewTokenProvider(options...))
	return func(ctx context.Context) error {
		_, err := provider.Login(ctx)
		return err
	}
}

func peer(given settings, identity bool) login {
	var credential azcore.TokenCredential
	if identity {
		credential = check(azidentity.NewManagedIdentityCredential(nil))
	} else {
		authority := cloud.AzurePublic
		authority.ActiveDirectoryAuthorityHost = given.AuthorityHost
		credential = check(azidentity.NewClientSecretCredential(given.TenantID, given.ClientID, given.ClientSecret,
			&azidentity.ClientSecretCredentialOptions{
				ClientOptions:            policy.ClientOptions{Cloud: authority},
				DisableInstanceDiscovery: true,
			}))
	}
	return func(ctx context.Context) error {
		_, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
		return err
	}
}

func milliseconds(since time.Time) float64 { return float64(time.Since(since).Nanoseconds()) / 1e6 }

func tell(result map[string]any) {
	line := check(json.Marshal(result))
	fmt.Println(string(line))
}

func main() {
	var given settings
	if err := json.Unmarshal([]byte(os.Getenv("PGENTRA_BENCHMARK")), &given); err != nil {
		check(0, err)
	}
	measure, who := os.Args[1], os.Args[2]
	contestant := ours
	if who == "peer" {
		contestant = peer
	}
	ctx := context.Background()
	call := contestant(given, strings.HasSuffix(measure, "identity"))
	switch measure {
	case "warm-identity", "warm-secret":
		for range warmCalls / 10 {
			check(0, call(ctx))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		started := time.Now()
		for range warmCalls {
			_ = call(ctx)
		}
		took := time.Since(started)
		runtime.ReadMemStats(&after)
		tell(map[string]any{
			"ns":          float64(took.Nanoseconds()) / warmCalls,
			"allocations": float64(after.Mallocs-before.Mallocs) / warmCalls,
		})
	case "first":
		started := time.Now()
		check(0, call(ctx))
		tell(map[string]any{"ms": milliseconds(started)})
	case "stampede", "stampede-identity":
		var group sync.WaitGroup
		times := make([]float64, callers)
		begin := make(chan struct{})
		for caller := range callers {
			group.Add(1)
			go func() {
				defer group.Done()
				<-begin
				started := time.Now()
				check(0, call(ctx))
				times[caller] = milliseconds(started)
			}()
		}
		close(begin)
		group.Wait()
		slices.Sort(times)
		tell(map[string]any{"ms": times[callers*99/100-1]})
	case "next":
		check(0, call(ctx))
		tell(map[string]any{"ready": true})
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		started := time.Now()
		err := call(ctx)
		result := map[string]any{"ms": milliseconds(started)}
		if err != nil {
			result["error"] = strings.SplitN(err.Error(), "\n", 2)[0]
		}
		tell(result)
	default:
		check(0, fmt.Errorf("no measure is called %s", measure))
	}
}
