package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

// What the examples of the documentation use without declaring it.
const setup = `package documentation

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"log/slog"
	"os"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/golang-migrate/migrate/v4"
	migratepgx "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/pgentra/pgentra/bindings-go"
	"github.com/pgentra/pgentra/bindings-go/azcoreentra"
	"github.com/pgentra/pgentra/bindings-go/pgxentra"
	"github.com/pgentra/pgentra/bindings-go/pqentra"
)

var (
	_ embed.FS
	_ = errors.Is
	_ = slog.New
	_ = os.DirFS
	_ = dialect.Postgres
	_ = entsql.OpenDB
	_ = migrate.NewWithInstance
	_ = migratepgx.WithInstance
	_ = pgxpool.New
	_ = goose.NewProvider
	_ = postgres.New
	_ = gorm.Open
	_ = azcoreentra.FromAzure
	_ = pgxentra.NewPool
	_ = pqentra.OpenDB

	ctx             = context.Background()
	db              *sql.DB
	err             error
	files           source.Driver
	provider        *pgentra.TokenProvider
	credential      pgentra.TokenCredential
	azureCredential azcore.TokenCredential
	vault           secrets
)

type secrets struct{}

type secret struct {
	Text      string
	ExpiresOn time.Time
}

func (secrets) Read(context.Context, string) (secret, error) { return secret{}, nil }

func connect(user, password string) { _, _ = user, password }
`

var (
	block    = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	declared = regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :=`)
	rows     = regexp.MustCompile("(?m)^\\| `(\\w+)` \\|")
	options  = regexp.MustCompile(`(?m)^func (With\w+)\(`)
)

// The examples compile: a block that begins with `package` is a program, each other one the body of a function.
func TestDocumentation_compiles(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join(emulator.Root(), "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages = append(pages, filepath.Join(emulator.Root(), "README.md"), filepath.Join(emulator.Root(), "bindings-go", "README.md"))
	// A module of its own, with the requirements of this one.
	folder := t.TempDir()
	add := func(name, text string) {
		t.Helper()
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		add(name, strings.ReplaceAll(string(text), "=> ../", "=> "+filepath.Join(emulator.Root(), "bindings-go")+"/"))
	}
	number := 0
	add("setup.go", setup)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range block.FindAllSubmatchIndex(text, -1) {
			code := string(text[found[2]:found[3]])
			number++
			position := fmt.Sprintf("//line %s:%d\n", filepath.Base(page), 1+strings.Count(string(text[:found[2]]), "\n"))
			if strings.HasPrefix(code, "package ") {
				add(fmt.Sprintf("program%d/main.go", number), position+code)
				continue
			}
			var used strings.Builder
			for _, names := range declared.FindAllStringSubmatch(code, -1) {
				for _, name := range strings.Split(names[1], ", ") {
					if name != "_" {
						fmt.Fprintf(&used, "_ = %s\n", name)
					}
				}
			}
			add(fmt.Sprintf("block%d.go", number), "package documentation\n\n"+imports(code)+
				fmt.Sprintf("func block%d() error {\n%s%s%sreturn nil\n}\n", number, position, code, used.String()))
		}
	}
	if number < 10 {
		t.Fatalf("%d examples", number)
	}
	// The types are checked without a linker.
	command := exec.Command("go", "vet", "-unreachable=false", "-unusedresult=false", "./...")
	command.Dir = folder
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// imports returns the declarations of the packages that an example uses.
func imports(code string) string {
	var text strings.Builder
	for _, line := range strings.Split(setup[strings.Index(setup, "import ("):strings.Index(setup, "\n)")], "\n")[1:] {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		path := strings.Trim(fields[len(fields)-1], `"`)
		name := filepath.Base(path)
		switch {
		case len(fields) == 2:
			name = fields[0]
		case name == "bindings-go":
			name = "pgentra"
		case regexp.MustCompile(`^v\d+$`).MatchString(name):
			name = filepath.Base(filepath.Dir(path))
		}
		if regexp.MustCompile(`\b` + name + `\.\w`).MatchString(code) {
			fmt.Fprintf(&text, "import %s\n", strings.TrimSpace(line))
		}
	}
	return text.String()
}

func TestDocumentation_lists_every_option(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(emulator.Root(), "docs", "go.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(emulator.Root(), "bindings-go", "options.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "<!-- options")
	table, _, _ = strings.Cut(table, "<!-- end of options")
	listed, existing := names(rows, table), names(options, string(source))
	if !reflect.DeepEqual(listed, existing) {
		t.Fatalf("docs/go.md lists %v; there are %v", listed, existing)
	}
}

func names(pattern *regexp.Regexp, text string) []string {
	var found []string
	for _, match := range pattern.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	slices.Sort(found)
	return found
}
