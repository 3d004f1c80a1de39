using System.Collections.Concurrent;
using Dapper;
using Npgsql;
using PgEntra.Identity;

namespace Hangfire.PostgreSql
{
    /// <summary>The interface of the package of this name.</summary>
    internal interface IConnectionFactory
    {
        NpgsqlConnection GetOrCreateConnection();
    }
}

namespace PgEntra.Tests
{
    /// <summary>The recipes of docs/recipes/dotnet.md, which shows parts of this file.</summary>
    public sealed class RecipeTests(Emulator emulator) : IAsyncLifetime
    {
        public async ValueTask InitializeAsync() => await emulator.ResetAsync();

        public ValueTask DisposeAsync() => default;

        [Fact]
        public async Task Dapper_logs_in()
        {
            var connectionString = emulator.ConnectionString;
            await using var source = new NpgsqlDataSourceBuilder(connectionString).UseEntraAuthentication().Build();
            await using var connection = await source.OpenConnectionAsync();
            var role = await connection.QuerySingleAsync<string>("select current_user");
            Assert.Equal("app-mi", role);
        }

        [Fact]
        public async Task ConnectionFactory_of_a_data_source_logs_in()
        {
            await using var source = new NpgsqlDataSourceBuilder(emulator.ConnectionString).UseEntraAuthentication().Build();
            await using var connection = new HangfireConnectionFactory(source).GetOrCreateConnection();
            await connection.OpenAsync();
            Assert.Equal("app-mi", await connection.QuerySingleAsync<string>("select current_user"));
        }

        [Fact]
        public async Task TenantSources_have_an_identity_each_and_share_a_source_by_tenant()
        {
            var first = await emulator.AddAsync();
            var second = await emulator.AddAsync();
            await using var sources = new TenantSources();
            foreach (var principal in new[] { first, second, first })
            {
                var tenant = new Tenant(principal.Name, emulator.ConnectionString, principal.ClientId);
                await using var connection = await sources.For(tenant).OpenConnectionAsync();
                Assert.Equal(principal.Name, await connection.QuerySingleAsync<string>("select current_user"));
            }

            Assert.Single(await emulator.RequestsAsync(first));
        }
    }

    internal sealed class HangfireConnectionFactory(NpgsqlDataSource source) : Hangfire.PostgreSql.IConnectionFactory
    {
        public NpgsqlConnection GetOrCreateConnection() => source.CreateConnection();
    }

    internal sealed record Tenant(string Name, string ConnectionString, string ClientId);

    internal sealed class TenantSources : IAsyncDisposable
    {
        private readonly ConcurrentDictionary<string, Lazy<NpgsqlDataSource>> sources = new();

        public NpgsqlDataSource For(Tenant tenant) => sources.GetOrAdd(tenant.Name, _ => new(() => Create(tenant))).Value;

        public async ValueTask DisposeAsync()
        {
            foreach (var source in sources.Values)
            {
                await source.Value.DisposeAsync();
            }
        }

        private static NpgsqlDataSource Create(Tenant tenant) => new NpgsqlDataSourceBuilder(tenant.ConnectionString)
            .UseEntraAuthentication(new ManagedIdentityCredential(tenant.ClientId))
            .Build();
    }
}
