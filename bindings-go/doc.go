// Package pgentra logs in to Azure Database for PostgreSQL with a Microsoft Entra identity.
//
//	provider, err := pgentra.NewTokenProvider(pgentra.WithHost("shop.postgres.database.azure.com"))
//	login, err := provider.Login(ctx) // for every new connection
//
// Packages pgxentra and pqentra connect pgx and lib/pq; [OpenConnection] and [Connect] serve other drivers. Package azcoreentra
// converts credentials of the Azure SDK. Each of these is a module of its own, so that this one has no dependencies.
//
// The package contains the library libpgentra, so that it needs cgo and a C compiler. The tag pgentra_dynamic links an installed
// library by pkg-config instead.
package pgentra
