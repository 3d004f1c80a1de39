module github.com/pgentra/pgentra/benchmarks/go

go 1.26

require (
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.23.3
	github.com/Azure/azure-sdk-for-go/sdk/azidentity v1.15.0
	github.com/jackc/pgx/v5 v5.13.0
	github.com/pgentra/pgentra/bindings-go v0.1.0
	github.com/pgentra/pgentra/bindings-go/pgxentra v0.1.0
)

require (
	github.com/Azure/azure-sdk-for-go/sdk/internal v1.13.0 // indirect
	github.com/AzureAD/microsoft-authentication-library-for-go v1.10.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 v0.1.0 // indirect
	github.com/pkg/browser v0.0.0-20240102092130-5ac0b6a4141c // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/net v0.58.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.41.0 // indirect
)

replace (
	github.com/pgentra/pgentra/bindings-go => ../../bindings-go
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 => ../../bindings-go/lib/darwin_arm64
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 => ../../bindings-go/lib/linux_amd64
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 => ../../bindings-go/lib/linux_arm64
	github.com/pgentra/pgentra/bindings-go/pgxentra => ../../bindings-go/pgxentra
)
