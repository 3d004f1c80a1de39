package tests

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
	"github.com/pgentra/pgentra/bindings-go/pqentra"
)

// TestMain also runs this program as one that logs in with its environment alone.
func TestMain(m *testing.M) {
	if driver := os.Getenv("PGENTRA_TEST_CONNECTOR"); driver != "" {
		role, err := connectorLogins[driver](context.Background())
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("role:", role)
		return
	}
	emulator.Main(m)
}

// connectorLogins log in with the variables of Azure Service Connector and no other setting.
var connectorLogins = map[string]func(context.Context) (string, error){
	"pgx": func(ctx context.Context) (role string, err error) {
		pool, err := pgxentra.NewPool(ctx, "", pgentra.WithServiceConnector(""))
		if err != nil {
			return "", err
		}
		defer pool.Close()
		return role, pool.QueryRow(ctx, currentUser).Scan(&role)
	},
	"database/sql": func(ctx context.Context) (string, error) {
		return roleOf(ctx)(pgxentra.OpenDB("", pgentra.WithServiceConnector("")))
	},
	"lib/pq": func(ctx context.Context) (string, error) {
		return roleOf(ctx)(pqentra.OpenDB("", pgentra.WithServiceConnector("")))
	},
}

func roleOf(ctx context.Context) func(db *sql.DB, err error) (string, error) {
	return func(db *sql.DB, err error) (role string, _ error) {
		if err != nil {
			return "", err
		}
		defer func() { _ = db.Close() }()
		return role, db.QueryRowContext(ctx, currentUser).Scan(&role)
	}
}

// connectorVariables are those of the client type Go.
func connectorVariables(emulated *emulator.Emulator, role string, more map[string]string) map[string]string {
	variables := map[string]string{
		"AZURE_POSTGRESQL_CONNECTIONSTRING": emulated.Address("localhost") + " sslmode=require user=" + role,
	}
	for name, value := range more {
		variables["AZURE_POSTGRESQL_"+name] = value
	}
	return variables
}

func TestServiceConnector_logs_in(t *testing.T) {
	for identity, make := range map[string]func(*testing.T, *emulator.Emulator) map[string]string{
		"system-assigned": func(t *testing.T, emulated *emulator.Emulator) map[string]string {
			// The identity that the platform uses if a request names none.
			emulated.Call(t, "PUT", "/config", emulator.Object{"app_service": emulator.Object{"default": "vm-prod"}})
			return connectorVariables(emulated, "vm-prod", nil)
		},
		"user-assigned": func(t *testing.T, emulated *emulator.Emulator) map[string]string {
			principal := emulated.Add(t, "user_assigned", nil)
			return connectorVariables(emulated, principal.Name, map[string]string{"CLIENTID": principal.ClientID})
		},
		"service-principal": func(t *testing.T, emulated *emulator.Emulator) map[string]string {
			principal := emulated.Add(t, "service_principal", nil)
			return connectorVariables(emulated, principal.Name, map[string]string{
				"CLIENTID": principal.ClientID, "CLIENTSECRET": principal.Secret, "TENANTID": emulated.Text("tenant_id"),
			})
		},
	} {
		for driver := range connectorLogins {
			t.Run(identity+" "+driver, func(t *testing.T) {
				emulated := emulator.Start(t)
				variables := make(t, emulated)
				_, role, _ := strings.Cut(variables["AZURE_POSTGRESQL_CONNECTIONSTRING"], "user=")
				program := exec.Command(os.Args[0])
				program.Env = []string{
					"PGENTRA_TEST_CONNECTOR=" + driver, "HOME=/nonexistent", "PATH=/usr/bin:/bin",
					// The emulator's cloud, as an application in another cloud sets it.
					"AZURE_AUTHORITY_HOST=" + emulated.Text("authority_host"),
				}
				for name, value := range emulated.Environment() {
					program.Env = append(program.Env, name+"="+value)
				}
				for name, value := range variables {
					program.Env = append(program.Env, name+"="+value)
				}
				output, err := program.CombinedOutput()
				if err != nil || !strings.Contains(string(output), "role: "+role+"\n") {
					t.Fatalf("%v: %s", err, output)
				}
				if strings.Contains(string(output), "canary") {
					t.Error("the output contains a secret")
				}
				fmt.Printf("connector: %s / %s / Go\n", identity, driver)
			})
		}
	}
}

func TestServiceConnector_selects_a_connection(t *testing.T) {
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "user_assigned", nil)
	t.Setenv("AZURE_POSTGRESQL_CONNECTIONSTRING", emulated.Address("localhost")+" sslmode=require user=app-mi")
	t.Setenv("AZURE_POSTGRESQL_ORDERS_CONNECTIONSTRING", emulated.ConnString()+" user="+principal.Name)
	t.Setenv("AZURE_POSTGRESQL_ORDERS_CLIENTID", principal.ClientID)
	for _, name := range []string{"orders", "AZURE_POSTGRESQL_ORDERS_"} {
		role, err := roleOf(t.Context())(pgxentra.OpenDB("", pgentra.WithServiceConnector(name)))
		if err != nil || role != principal.Name {
			t.Error(role, err)
		}
		provider, err := pgentra.NewTokenProvider(pgentra.WithServiceConnector(name))
		if err != nil {
			t.Fatal(err)
		}
		login, err := provider.Login(t.Context())
		if err != nil || login.User != principal.Name {
			t.Error(login, err)
		}
		_ = provider.Close()
	}
	if _, err := pgxentra.OpenDB("", pgentra.WithServiceConnector("")); err == nil || !strings.Contains(err.Error(), "AZURE_POSTGRESQL_ORDERS_*") {
		t.Error(err)
	}
	credential := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(nil))
	_, err := pgxentra.OpenDB("", pgentra.WithServiceConnector("orders"), pgentra.WithCredential(credential))
	if err == nil || !strings.Contains(err.Error(), "ServiceConnector") {
		t.Error(err)
	}
}
