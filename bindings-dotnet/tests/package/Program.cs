// Logs in with both packages and prints as whom; the connection string is the argument.
using Npgsql;
using PgEntra;

var builder = new NpgsqlSlimDataSourceBuilder(args[0]);
builder.UseEntraAuthentication();
await using var source = builder.Build();
await using var command = source.CreateCommand("select current_user");
var role = await command.ExecuteScalarAsync();

// A credential of the Azure SDK, on the same engine.
var credential = new PgEntra.AzureCore.ManagedIdentityCredential();
var token = await credential.GetTokenAsync(new(["https://ossrdbms-aad.database.windows.net/.default"]), default);
using var provider = new TokenProvider(credential.AsPgEntraCredential());
Console.WriteLine(token.Token == provider.GetToken() ? $"logged in as {role}" : "another token");
