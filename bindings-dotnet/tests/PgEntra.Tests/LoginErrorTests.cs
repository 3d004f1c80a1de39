using Microsoft.EntityFrameworkCore;
using Npgsql;
using PgEntra.Identity;

namespace PgEntra.Tests;

/// <summary>Login errors of the server are explained, and retried once with a newer token.</summary>
public sealed class LoginErrorTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task OpenEntraConnection_after_a_login_error_retries_with_a_newer_token(bool synchronous)
    {
        await using var source = await SourceWithSuspectTokenAsync();
        await emulator.ControlPostgresAsync(new { refuse_next = 1 });
        await using var connection = synchronous ? source.OpenEntraConnection() : await source.OpenEntraConnectionAsync();
        Assert.Equal(System.Data.ConnectionState.Open, connection.State);
        Assert.Contains(TokenProvider.AllStats(), entry => entry.Invalidations == 1);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task OpenEntraConnection_after_two_login_errors_explains_the_second(bool synchronous)
    {
        await using var source = await SourceWithSuspectTokenAsync();
        await emulator.ControlPostgresAsync(new { refuse_next = 2 });
        var failure = synchronous
            ? Assert.Throws<EntraLoginException>(() => source.OpenEntraConnection())
            : await Assert.ThrowsAsync<EntraLoginException>(() => source.OpenEntraConnectionAsync());
        Assert.Equal(failure.Error.SqlState, failure.SqlState);
        Assert.Same(failure.Error, failure.InnerException);
        Assert.False(failure.IsTransient);
        Assert.StartsWith(failure.Error.MessageText, failure.Message, StringComparison.Ordinal);
        Assert.Contains("Role tried: ", failure.Explanation, StringComparison.Ordinal);
        Assert.DoesNotContain("eyJ", failure.ToString(), StringComparison.Ordinal);
        // Both refusals were used.
        await using var connection = await source.OpenEntraConnectionAsync();
    }

    [Fact]
    public async Task OpenEntraConnection_with_a_missing_role_proposes_the_statement_that_creates_it()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=missing-role");
        builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        await using var source = builder.Build();
        var failure = await Assert.ThrowsAsync<EntraLoginException>(() => source.OpenEntraConnectionAsync());
        Assert.Contains("Role tried: 'missing-role' (from the user given to the connection).", failure.Message, StringComparison.Ordinal);
        Assert.Contains("pgaadauth_create_principal_with_oid('missing-role'", failure.Message, StringComparison.Ordinal);
        Assert.Contains(principal.Oid, failure.Message, StringComparison.Ordinal);
        // A newer token does not help, because this one was just fetched.
        Assert.Single(await emulator.RequestsAsync(principal));
    }

    [Fact]
    public async Task OpenEntraConnection_names_the_claim_that_gave_the_role()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        await using var source = builder.Build();
        await emulator.ControlPostgresAsync(new { refuse_next = 1, refuse_with = "role_missing" });
        var failure = await Assert.ThrowsAsync<EntraLoginException>(() => source.OpenEntraConnectionAsync());
        Assert.Contains($"Role tried: '{principal.Name}' (from a management-scope token).", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OpenEntraConnection_rethrows_other_errors_unchanged()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";Username={principal.Name}");
        builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        await using var source = builder.Build();
        await emulator.ControlPostgresAsync(new { refuse_next = 1, refuse_with = "starting_up" });
        var failure = Assert.Throws<PostgresException>(() => source.OpenEntraConnection());
        Assert.Equal("57P03", failure.SqlState);

        await using var unconfigured = NpgsqlDataSource.Create(emulator.ConnectionString + $";Username={principal.Name};Password=canary");
        Assert.IsType<PostgresException>(Assert.ThrowsAny<NpgsqlException>(() => unconfigured.OpenEntraConnection()));
    }

    [Fact]
    public async Task EntraLoginRetry_runs_a_query_of_Entity_Framework_again()
    {
        await using var source = await SourceWithSuspectTokenAsync();
        var options = new DbContextOptionsBuilder<DbContext>().UseNpgsql(source).Options;
        await using var context = new DbContext(options);
        await emulator.ControlPostgresAsync(new { refuse_next = 1 });
        var users = await EntraLoginRetry.RunAsync(
            token => context.Database.SqlQueryRaw<string>("select current_user::text as \"Value\"").ToListAsync(token));
        Assert.Single(users);

        await emulator.ControlPostgresAsync(new { refuse_next = 1, refuse_with = "role_missing" });
        var failure = Assert.Throws<EntraLoginException>(
            () => EntraLoginRetry.Run(() => context.Database.SqlQueryRaw<string>("select current_user::text as \"Value\"").ToList()));
        Assert.Equal("28000", failure.SqlState);
    }

    [Fact]
    public async Task TokenProvider_explains_and_renews_for_any_driver()
    {
        var principal = await emulator.AddAsync();
        await emulator.SetTokensAsync(new { lifetime_s = 10 });
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId), new EntraOptions { Host = "s.postgres.database.azure.com" });
        var login = await provider.LoginAsync();
        await Task.Delay(1100);
        await using var source = NpgsqlDataSource.Create(
            $"{emulator.ConnectionString};Username={login.User};Password={login.Password};GSS Encryption Mode=Disable");
        await emulator.ControlPostgresAsync(new { refuse_next = 1 });
        var refused = await Assert.ThrowsAsync<PostgresException>(async () => await source.OpenConnectionAsync());
        Assert.Contains(principal.Name, provider.ExplainLoginError(refused, login), StringComparison.Ordinal);
        Assert.True(await provider.InvalidateAfterAsync(refused, login.Password));
        Assert.NotEqual(login.Password, provider.GetToken());

        var other = new PostgresException("the database system is starting up", "FATAL", "FATAL", "57P03");
        Assert.Null(provider.ExplainLoginError(other, login));
        Assert.False(provider.InvalidateAfter(other));

        // Variables of Service Connector for that server, which this login does not use.
        Environment.SetEnvironmentVariable(
            "AZURE_POSTGRESQL_CONNECTIONSTRING", "Server=s.postgres.database.azure.com;Database=d;User Id=aad_shop;");
        Assert.Contains("AZURE_POSTGRESQL_", provider.ExplainLoginError(refused, login), StringComparison.Ordinal);
    }

    /// <summary>Returns a data source without pooling whose token is old enough to be renewed after a login error.</summary>
    private async Task<NpgsqlDataSource> SourceWithSuspectTokenAsync()
    {
        var principal = await emulator.AddAsync();
        await emulator.SetTokensAsync(new { lifetime_s = 10 });
        var source = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";Username={principal.Name};Pooling=false")
            .UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId)).Build();
        await using (await source.OpenConnectionAsync())
        {
        }

        // A token is not suspected before a tenth of its lifetime has passed.
        await Task.Delay(1100);
        return source;
    }
}
