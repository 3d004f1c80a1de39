package tests

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"
	"entgo.io/ent/schema/field"
	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

// open returns a database of the identity admin@contoso.example, which may create tables.
func open(t *testing.T) (*emulator.Emulator, *sql.DB) {
	t.Helper()
	emulated := emulator.Start(t)
	principal := emulated.Add(t, "user_assigned", emulator.Object{"role": emulator.Object{"name": "go-admin", "admin": true}})
	credential := made[*pgentra.ManagedIdentityCredential](t)(pgentra.NewManagedIdentityCredential(
		&pgentra.ManagedIdentityCredentialOptions{ID: pgentra.ClientID(principal.ClientID)}))
	db, err := pgxentra.OpenDB(emulated.ConnString(), pgentra.WithCredential(credential), pgentra.WithUser("go-admin"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = db.Close()
		if sent := emulated.PlaintextBytes(t); sent != 0 {
			t.Errorf("%d bytes of a token were sent in plaintext", sent)
		}
	})
	// Every statement on a connection of its own.
	db.SetMaxIdleConns(0)
	return emulated, db
}

func drop(t *testing.T, db *sql.DB, tables ...string) {
	t.Helper()
	remove := func() {
		for _, table := range tables {
			if _, err := db.ExecContext(context.Background(), "drop table if exists "+table); err != nil {
				t.Error(err)
			}
		}
	}
	remove()
	t.Cleanup(remove)
}

type gormOrder struct {
	ID   uint
	Item string
}

func TestGorm(t *testing.T) {
	_, db := open(t)
	drop(t, db, "gorm_orders")
	orm, err := gorm.Open(postgres.New(postgres.Config{Conn: db}), &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := orm.AutoMigrate(&gormOrder{}); err != nil {
		t.Fatal(err)
	}
	if err := orm.Create(&gormOrder{Item: "bread"}).Error; err != nil {
		t.Fatal(err)
	}
	var found gormOrder
	if err := orm.First(&found, "item = ?", "bread").Error; err != nil || found.ID == 0 {
		t.Fatal(found, err)
	}
}

// What the generated code of ent calls: its dialect's driver, its migration and its builders.
func TestEnt(t *testing.T) {
	_, db := open(t)
	drop(t, db, "ent_orders")
	driver := entsql.OpenDB(dialect.Postgres, db)
	id := &schema.Column{Name: "id", Type: field.TypeInt, Increment: true}
	table := schema.NewTable("ent_orders").AddPrimary(id).AddColumn(&schema.Column{Name: "item", Type: field.TypeString})
	migration, err := schema.NewMigrate(driver)
	if err != nil {
		t.Fatal(err)
	}
	if err := migration.Create(t.Context(), table); err != nil {
		t.Fatal(err)
	}
	query, args := entsql.Dialect(dialect.Postgres).Insert("ent_orders").Columns("item").Values("bread").Query()
	if err := driver.Exec(t.Context(), query, args, nil); err != nil {
		t.Fatal(err)
	}
	query, args = entsql.Dialect(dialect.Postgres).Select("item").From(entsql.Table("ent_orders")).Query()
	rows := &entsql.Rows{}
	if err := driver.Query(t.Context(), query, args, rows); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	if item, err := entsql.ScanString(rows); err != nil || item != "bread" {
		t.Fatal(item, err)
	}
}

func TestGoose(t *testing.T) {
	_, db := open(t)
	drop(t, db, "goose_orders", "goose_db_version")
	files := fstest.MapFS{"00001_orders.sql": {Data: []byte(
		"-- +goose Up\ncreate table goose_orders (item text);\n-- +goose Down\ndrop table goose_orders;\n")}}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files)
	if err != nil {
		t.Fatal(err)
	}
	if results, err := provider.Up(t.Context()); err != nil || len(results) != 1 {
		t.Fatal(results, err)
	}
	if _, err := db.Exec("insert into goose_orders values ('bread')"); err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Down(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestMigrate(t *testing.T) {
	_, db := open(t)
	drop(t, db, "migrate_orders", "schema_migrations")
	files, err := iofs.New(fstest.MapFS{
		"1_orders.up.sql":   {Data: []byte("create table migrate_orders (item text)")},
		"1_orders.down.sql": {Data: []byte("drop table migrate_orders")},
	}, ".")
	if err != nil {
		t.Fatal(err)
	}
	target, err := migratepgx.WithInstance(db, &migratepgx.Config{})
	if err != nil {
		t.Fatal(err)
	}
	migration, err := migrate.NewWithInstance("iofs", files, "pgx5", target)
	if err != nil {
		t.Fatal(err)
	}
	if err := migration.Up(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("insert into migrate_orders values ('bread')"); err != nil {
		t.Fatal(err)
	}
	if err := migration.Down(); err != nil {
		t.Fatal(err)
	}
}

// sqlc generates code, which is compiled and run. The tool compiles PostgreSQL's parser, which takes minutes.
func TestSqlc(t *testing.T) {
	if os.Getenv("PGENTRA_LONG") == "" {
		t.Skip("set PGENTRA_LONG=1 to build sqlc")
	}
	emulated, db := open(t)
	drop(t, db, "sqlc_orders")
	folder := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, arguments ...string) string {
		t.Helper()
		command := exec.Command(name, arguments...)
		command.Dir = folder
		command.Env = append(os.Environ(), "GOFLAGS=-mod=mod -buildvcs=false")
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v: %s", name, arguments, err, output)
		}
		return string(output)
	}
	write("schema.sql", "create table sqlc_orders (id bigserial primary key, item text not null);")
	write("query.sql", "-- name: AddOrder :one\ninsert into sqlc_orders (item) values ($1) returning *;\n")
	write("sqlc.yaml", `version: "2"
sql:
  - {engine: postgresql, queries: query.sql, schema: schema.sql, gen: {go: {package: main, out: ".", sql_package: pgx/v5}}}
`)
	run("go", "run", "github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1", "generate")
	write("main.go", `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	ctx := context.Background()
	pool, err := pgxentra.NewPool(ctx, os.Args[1], pgentra.WithUser("app-mi"))
	if err == nil {
		var order SqlcOrder
		order, err = New(pool).AddOrder(ctx, "bread")
		fmt.Println(order.Item)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`)
	write("go.mod", moduleFile(t, "sqlc-program"))
	run("go", "mod", "tidy")
	if _, err := db.Exec("create table sqlc_orders (id bigserial primary key, item text not null)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(`grant all on sqlc_orders, sqlc_orders_id_seq to "app-mi"`); err != nil {
		t.Fatal(err)
	}
	if output := run("go", "run", "-tags", "pgentra_testing", ".", emulated.ConnString()); !strings.Contains(output, "bread") {
		t.Error(output)
	}
}
