module github.com/pgentra/pgentra/bindings-go/pgxentra

go 1.24

require (
	github.com/jackc/pgx/v5 v5.7.6
	github.com/pgentra/pgentra/bindings-go v0.1.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.2 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 v0.1.0 // indirect
	golang.org/x/crypto v0.37.0 // indirect
	golang.org/x/sync v0.13.0 // indirect
	golang.org/x/text v0.24.0 // indirect
)

// For builds in a clone. In other modules, replacements have no effect.
replace (
	github.com/pgentra/pgentra/bindings-go => ../
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 => ../lib/darwin_arm64
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 => ../lib/linux_amd64
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 => ../lib/linux_arm64
)
