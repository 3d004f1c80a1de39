module github.com/pgentra/pgentra/bindings-go

go 1.24

require (
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 v0.1.0
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 v0.1.0
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 v0.1.0
)

// For builds in a clone. In other modules, replacements have no effect.
replace (
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 => ./lib/darwin_arm64
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 => ./lib/linux_amd64
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 => ./lib/linux_arm64
)
