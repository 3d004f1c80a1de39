module github.com/pgentra/pgentra/bindings-go/tests

go 1.26.0

require (
	entgo.io/ent v0.14.5
	github.com/Azure/azure-sdk-for-go/sdk/azidentity v1.15.0
	github.com/golang-migrate/migrate/v4 v4.20.1
	github.com/pgentra/pgentra/bindings-go v0.1.0
	github.com/pgentra/pgentra/bindings-go/azcoreentra v0.1.0
	github.com/pgentra/pgentra/bindings-go/pgxentra v0.1.0
	github.com/pgentra/pgentra/bindings-go/pqentra v0.1.0
	github.com/pressly/goose/v3 v3.30.1
	gorm.io/driver/postgres v1.6.3
	gorm.io/gorm v1.31.2
)

require (
	ariga.io/atlas v0.32.1-0.20250325101103-175b25e1c1b9 // indirect
	github.com/Azure/azure-sdk-for-go/sdk/azcore v1.24.0 // indirect
	github.com/Azure/azure-sdk-for-go/sdk/internal v1.13.0 // indirect
	github.com/AzureAD/microsoft-authentication-library-for-go v1.10.1 // indirect
	github.com/agext/levenshtein v1.2.3 // indirect
	github.com/apparentlymart/go-textseg/v15 v15.0.0 // indirect
	github.com/bmatcuk/doublestar v1.3.4 // indirect
	github.com/go-openapi/inflect v0.19.0 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	github.com/google/go-cmp v0.6.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/hashicorp/hcl/v2 v2.18.1 // indirect
	github.com/jackc/pgerrcode v0.0.0-20220416144525-469b46aa5efa // indirect
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.13.0 // indirect
	github.com/jackc/puddle/v2 v2.2.3 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/jinzhu/now v1.1.5 // indirect
	github.com/kylelemons/godebug v1.1.0 // indirect
	github.com/lib/pq v1.12.3 // indirect
	github.com/mfridman/interpolate v0.2.0 // indirect
	github.com/mitchellh/go-wordwrap v1.0.1 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 v0.1.0 // indirect
	github.com/pkg/browser v0.0.0-20240102092130-5ac0b6a4141c // indirect
	github.com/sethvargo/go-retry v0.5.0 // indirect
	github.com/zclconf/go-cty v1.14.4 // indirect
	github.com/zclconf/go-cty-yaml v1.1.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sync v0.25.0 // indirect
	golang.org/x/sys v0.50.0 // indirect
	golang.org/x/text v0.44.0 // indirect
)

// For builds in a clone. In other modules, replacements have no effect.
replace (
	github.com/pgentra/pgentra/bindings-go => ../
	github.com/pgentra/pgentra/bindings-go/azcoreentra => ../azcoreentra
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 => ../lib/darwin_arm64
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 => ../lib/linux_amd64
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 => ../lib/linux_arm64
	github.com/pgentra/pgentra/bindings-go/pgxentra => ../pgxentra
	github.com/pgentra/pgentra/bindings-go/pqentra => ../pqentra
)
