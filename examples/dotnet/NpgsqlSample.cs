using Npgsql;
using PgEntra;

namespace Samples;

/// <summary>Npgsql alone. A program builds its data source once and keeps it, because the data source is the pool.</summary>
internal static class NpgsqlSample
{
    public static string Run(string connectionString)
    {
        // Without a credential the default chain is used: a managed identity, a workload identity, or the account that is
        // signed in to `az`. With a credential: UseEntraAuthentication(new ManagedIdentityCredential("client id")).
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
