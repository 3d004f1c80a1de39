using Npgsql;
using PgEntra;

namespace Samples;

/// <summary>Npgsql alone. A program builds its data source once and keeps it: it is the pool.</summary>
internal static class NpgsqlSample
{
    public static string Run(string connectionString)
    {
        // Without a credential it is the default chain's: a managed identity, a workload identity, or whoever is signed
        // in to `az`. With one: UseEntraAuthentication(new ManagedIdentityCredential("client id")).
        using var source = new NpgsqlDataSourceBuilder(connectionString).UseEntraAuthentication().Build();
        using var command = source.CreateCommand("select current_user");
        return (string)command.ExecuteScalar()!;
    }

    public static async Task<string> RunAsync(string connectionString)
    {
        var builder = new NpgsqlDataSourceBuilder(connectionString);
        await builder.UseEntraAuthenticationAsync();
        await using var source = builder.Build();
        await using var command = source.CreateCommand("select current_user");
        return (string)(await command.ExecuteScalarAsync())!;
    }
}
