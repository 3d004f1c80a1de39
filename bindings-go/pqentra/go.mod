module github.com/pgentra/pgentra/bindings-go/pqentra

go 1.24

require github.com/pgentra/pgentra/bindings-go v0.1.0

require (
	github.com/lib/pq v1.12.3
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 v0.1.0 // indirect
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 v0.1.0 // indirect
)

// For builds in a clone. In other modules, replacements have no effect.
replace (
	github.com/pgentra/pgentra/bindings-go => ../
	github.com/pgentra/pgentra/bindings-go/lib/darwin_arm64 => ../lib/darwin_arm64
	github.com/pgentra/pgentra/bindings-go/lib/linux_amd64 => ../lib/linux_amd64
	github.com/pgentra/pgentra/bindings-go/lib/linux_arm64 => ../lib/linux_arm64
)
