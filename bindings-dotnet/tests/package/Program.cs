// Logs in with both packages and prints the role. The argument is the connection string. With a second argument, `refused` or
// `allowed`, it connects to a server without TLS and prints the kind of the error.
using Npgsql;
using PgEntra;
using PgEntra.Identity;

if (args.Length > 1)
{
    Console.WriteLine(await Plaintext.TryAsync(args[0], args[1] == "allowed"));
    return;
}

var builder = new NpgsqlSlimDataSourceBuilder(args[0]);
builder.UseEntraAuthentication();
await using var source = builder.Build();
await using var command = source.CreateCommand("select current_user");
var role = await command.ExecuteScalarAsync();

// A credential for the Azure SDK, which uses the same engine.
var credential = new PgEntra.AzureCore.ManagedIdentityCredential();
var token = await credential.GetTokenAsync(new(["https://ossrdbms-aad.database.windows.net/.default"]), default);
using var provider = new TokenProvider(credential.AsPgEntraCredential());
Console.WriteLine(token.Token == provider.GetToken() ? $"logged in as {role}" : "another token");

internal static class Plaintext
{
    internal static async Task<string> TryAsync(string connectionString, bool allowed)
    {
        var kinds = new List<string>();
        foreach (var mode in new[] { SslMode.Disable, SslMode.Allow, SslMode.Prefer })
        {
            var builder = new NpgsqlDataSourceBuilder(connectionString);
            builder.UseEntraAuthentication(
                new StaticTokenCredential("canary-static-token"), new EntraOptions { User = "u", AllowInsecureTransport = allowed });
            // 127.0.0.1 as a number, which only .NET reads as this machine.
            builder.ConnectionStringBuilder.Host = "2130706433";
            builder.ConnectionStringBuilder.SslMode = mode;
            await using var source = builder.Build();
            try
            {
                await source.OpenConnectionAsync();
            }
            catch (NpgsqlException exception)
            {
                kinds.Add(PgEntraException.Find(exception)?.Code ?? "the server's");
            }
        }

        // With Allow the last error is that of the second attempt, with TLS.
        return $"{kinds[0]}, {kinds[2]}";
    }
}
