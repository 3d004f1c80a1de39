using System.Data;
using System.Diagnostics;
using Dapper;
using Microsoft.EntityFrameworkCore;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Npgsql;
using PgEntra.Identity;
using PgEntra.Interop;

namespace PgEntra.Tests;

/// <summary>Npgsql and Entity Framework Core with a real PostgreSQL behind the emulator's proxy, over verified TLS.</summary>
public sealed class NpgsqlTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Fact]
    public async Task DataSource_logs_in_synchronously_and_asynchronously()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        Assert.Same(builder, builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId)));
        Assert.Equal(principal.Name, builder.ConnectionStringBuilder.Username);
        await using (var source = builder.Build())
        {
            await using var connection = source.OpenConnection();
            Assert.Equal(principal.Name, connection.ExecuteScalar<string>("select current_user"));
            await using var other = await source.OpenConnectionAsync();
            Assert.Equal(principal.Name, await other.ExecuteScalarAsync<string>("select current_user"));
        }

        var again = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        Assert.Same(again, await again.UseEntraAuthenticationAsync(new ManagedIdentityCredential(principal.ClientId)));
        Assert.Equal(principal.Name, again.ConnectionStringBuilder.Username);
        Assert.Single(await emulator.RequestsAsync(principal));
    }

    [Fact]
    public async Task DataSource_without_a_credential_uses_the_default_chain()
    {
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication();
        await using var source = builder.Build();
        Assert.Equal("app-mi", await UserAsync(source));
    }

    [Theory]
    [InlineData("user_assigned", false)]
    [InlineData("user_assigned", true)]
    [InlineData("system_assigned", false)]
    [InlineData("user", false)]
    public async Task Username_comes_from_the_token(string kind, bool named)
    {
        var principal = await emulator.AddAsync(kind, settings =>
        {
            if (kind == "user")
            {
                settings["name"] = $"user-{Environment.ProcessId}@contoso.example";
            }
        });
        PgEntraCredential credential = new CallbackCredential(async (request, _) =>
        {
            var audience = request.Scope.Contains("management", StringComparison.Ordinal) ? "management" : "database";
            var minted = await emulator.MintAsync(principal.Name, named ? new { audience, named } : new { audience });
            return new(minted["token"]!.GetValue<string>(), DateTimeOffset.FromUnixTimeSeconds(minted["expires_on"]!.GetValue<long>()));
        });
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        await builder.UseEntraAuthenticationAsync(credential);
        Assert.Equal(principal.Name, builder.ConnectionStringBuilder.Username);
        await using var source = builder.Build();
        Assert.Equal(principal.Name, await UserAsync(source));
    }

    [Theory]
    [InlineData("bob_home.example#EXT#@contoso.example", "bob_home.example#EXT#@contoso.example")]
    [InlineData("alice@contoso.example", "db-readers")]
    public async Task Username_of_a_guest_and_of_a_group_comes_from_the_connection_string(string principal, string role)
    {
        var minted = await emulator.MintAsync(principal);
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.ConnectionStringBuilder.Username = role;
        builder.UseEntraAuthentication(new StaticTokenCredential(minted["token"]!.GetValue<string>()));
        await using var source = builder.Build();
        Assert.Equal(role, await UserAsync(source));
    }

    [Fact]
    public async Task Username_of_a_service_principal_comes_from_the_connection_string_PGUSER_or_an_option()
    {
        var principal = await emulator.AddAsync("service_principal");
        var nameless = Assert.ThrowsAny<PgEntraException>(() => new NpgsqlDataSourceBuilder(emulator.ConnectionString).UseEntraAuthentication(Secret(principal)));
        Assert.Equal("Could not determine username from token claims", nameless.Message);
        Assert.Contains("service principal", nameless.InnerException!.Message, StringComparison.Ordinal);

        var named = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=" + principal.Name);
        named.UseEntraAuthentication(Secret(principal));
        await using (var source = named.Build())
        {
            Assert.Equal(principal.Name, await UserAsync(source));
        }

        var fallback = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        fallback.UseEntraAuthentication(Secret(principal), new EntraOptions { FallbackUsername = principal.Name });
        Assert.Equal(principal.Name, fallback.ConnectionStringBuilder.Username);

        Environment.SetEnvironmentVariable("PGUSER", "from-pguser");
        var variable = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        variable.UseEntraAuthentication(Secret(principal));
        Assert.Equal("from-pguser", variable.ConnectionStringBuilder.Username);
        var both = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=kept");
        both.UseEntraAuthentication(Secret(principal));
        Assert.Equal("kept", both.ConnectionStringBuilder.Username);
        both.UseEntraAuthentication(Secret(principal), new EntraOptions { User = "chosen" });
        Assert.Equal("chosen", both.ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task PasswordProvider_ignores_a_password_and_a_password_file_of_the_environment()
    {
        var principal = await emulator.AddAsync();
        var file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, "*:*:*:*:canary-in-a-file\n");
            Environment.SetEnvironmentVariable("PGPASSFILE", file);
            await LogsInAsync();
            Environment.SetEnvironmentVariable("PGPASSWORD", "canary-in-a-variable");
            await LogsInAsync();
        }
        finally
        {
            File.Delete(file);
        }

        async Task LogsInAsync()
        {
            await using var source = Build(emulator.ConnectionString + ";Pooling=false", principal);
            Assert.Equal(principal.Name, await UserAsync(source));
            await using var connection = source.OpenConnection();
            Assert.Equal(principal.Name, connection.UserName);
        }
    }

    [Theory]
    [InlineData("Password=canary")]
    [InlineData("Username=u;Password=canary")]
    [InlineData("Passfile=/canary")]
    public void Password_in_the_connection_string_is_Npgsqls_error_before_a_fetch(string setting)
    {
        var asked = false;
        var credential = new CallbackCredential(_ =>
        {
            asked = true;
            return new AccessToken("canary-token", DateTimeOffset.UtcNow.AddHours(1));
        });
        var builder = new NpgsqlDataSourceBuilder($"Host=localhost;{setting}");
        builder.UseEntraAuthentication(credential);
        Assert.Throws<NotSupportedException>(builder.Build);
        Assert.False(asked);
    }

    [Fact]
    public void Cloud_is_found_by_every_host_of_a_connection_string()
    {
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(factory);
        try
        {
            var builder = new NpgsqlDataSourceBuilder(
                "Host=one.postgres.database.azure.com:6432,two.postgres.database.chinacloudapi.cn;Username=u");
            builder.UseEntraAuthentication(new StaticTokenCredential("t"));
            Assert.StartsWith("PgEntra Warning ", log.WaitFor("chinacloudapi.cn"), StringComparison.Ordinal);
        }
        finally
        {
            PgEntraLogging.Use(null);
        }
    }

    [Fact]
    public async Task Environment_is_read_when_the_builder_is_configured()
    {
        var principal = await emulator.AddAsync("service_principal");
        Environment.SetEnvironmentVariable("AZURE_TENANT_ID", emulator.TenantId);
        Environment.SetEnvironmentVariable("AZURE_CLIENT_ID", principal.ClientId);
        Environment.SetEnvironmentVariable("AZURE_CLIENT_SECRET", principal.Secret);
        Environment.SetEnvironmentVariable("AZURE_AUTHORITY_HOST", emulator.AuthorityHost.OriginalString);
        Environment.SetEnvironmentVariable("PGUSER", principal.Name);
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication();
        await using var source = builder.Build();
        Assert.Equal(principal.Name, await UserAsync(source));
    }

    [Fact]
    public async Task SlimDataSourceBuilder_logs_in()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlSlimDataSourceBuilder(emulator.ConnectionString);
        Assert.Same(builder, builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId)));
        await using var source = builder.Build();
        Assert.Equal(principal.Name, await UserAsync(source));
        var again = new NpgsqlSlimDataSourceBuilder(emulator.ConnectionString);
        await again.UseEntraAuthenticationAsync(new ManagedIdentityCredential(principal.ClientId));
        Assert.Equal(principal.Name, again.ConnectionStringBuilder.Username);
    }

    [Fact]
    public async Task DependencyInjection_builds_the_data_source()
    {
        var settings = new Dictionary<string, string?> { ["ConnectionStrings:db"] = emulator.ConnectionString };
        var configuration = new ConfigurationBuilder().AddInMemoryCollection(settings).Build();
        await using var services = new ServiceCollection()
            .AddSingleton<IConfiguration>(configuration)
            .AddSingleton(provider => new NpgsqlDataSourceBuilder(provider.GetRequiredService<IConfiguration>().GetConnectionString("db"))
                .UseEntraAuthentication().Build())
            .BuildServiceProvider();
        Assert.Equal("app-mi", await UserAsync(services.GetRequiredService<NpgsqlDataSource>()));
    }

    [Fact]
    public async Task DataSources_multiplexing_and_multi_host_share_one_fetch()
    {
        var principal = await emulator.AddAsync();
        await emulator.AddFaultAsync(new { endpoint = "app_service", latency_ms = 200, principal = principal.Name });
        var sources = new List<NpgsqlDataSource>();
        for (var index = 0; index < 5; index++)
        {
            sources.Add(Build(emulator.ConnectionString + $";Username={principal.Name};Application Name=pool{index}", principal));
            sources.Add(Build(emulator.ConnectionString + $";Username={principal.Name};Multiplexing=true;Application Name=m{index}", principal));
        }

        var several = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";Username={principal.Name}");
        several.ConnectionStringBuilder.Host = $"localhost:{emulator.Port},localhost:{emulator.Port}";
        several.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        sources.Add(several.BuildMultiHost());
        var users = await Task.WhenAll(sources.Select(UserAsync));
        Assert.All(users, user => Assert.Equal(principal.Name, user));
        Assert.Single(await emulator.RequestsAsync(principal));
        foreach (var source in sources)
        {
            await source.DisposeAsync();
        }
    }

    [Fact]
    public async Task TokenProvider_with_200_cold_callers_makes_one_request()
    {
        var principal = await emulator.AddAsync();
        await emulator.AddFaultAsync(new { endpoint = "app_service", latency_ms = 300, principal = principal.Name });
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var tokens = await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => provider.GetTokenAsync().AsTask()));
        Assert.Single(tokens.Distinct());
        Assert.Single(await emulator.RequestsAsync(principal));
    }

    [Fact]
    public async Task DataSource_logs_in_across_tokens_of_20_s_and_an_outage()
    {
        var principal = await emulator.AddAsync();
        await emulator.SetTokensAsync(new { lifetime_s = 20 });
        await using var pool = Build(emulator.ConnectionString + $";Username={principal.Name};Pooling=false", principal);
        await using var multiplexed = Build(
            emulator.ConnectionString + $";Username={principal.Name};Multiplexing=true;Connection Lifetime=1;Maximum Pool Size=2", principal);
        var watch = Stopwatch.StartNew();
        var logins = 0;
        var outage = false;
        while (watch.Elapsed < TimeSpan.FromSeconds(22))
        {
            // The service is down while the first token is to be refreshed.
            if (watch.Elapsed > TimeSpan.FromSeconds(5) && watch.Elapsed < TimeSpan.FromSeconds(13) && !outage)
            {
                outage = true;
                await emulator.AddFaultAsync(new { endpoint = "app_service", status = 503, principal = principal.Name });
            }
            else if (watch.Elapsed > TimeSpan.FromSeconds(13) && outage)
            {
                outage = false;
                await emulator.ClearFaultsAsync();
            }

            await using (var connection = pool.OpenConnection())
            {
                Assert.Equal(principal.Name, connection.ExecuteScalar<string>("select current_user"));
            }

            Assert.Equal(principal.Name, await UserAsync(pool));
            Assert.Equal(principal.Name, await UserAsync(multiplexed));
            logins += 2;
            await Task.Delay(100);
        }

        // As many requests as for one pool: a token of 20 s is refreshed after 8 s at the earliest, and a failure is remembered for 0.8 s.
        var requests = await emulator.RequestsAsync(principal);
        foreach (var (before, after) in requests.Zip(requests.Skip(1)))
        {
            var least = before["status"]!.GetValue<int>() == 200 ? 8000 : 800;
            Assert.InRange(after["started_ms"]!.GetValue<long>() - before["started_ms"]!.GetValue<long>(), least, 22_000);
        }

        Assert.InRange(requests.Count(one => one["status"]!.GetValue<int>() == 200), 2, 3);
        Assert.True(logins > 40, $"{logins} logins");
    }

    [Fact]
    public async Task LoginError_is_the_servers_and_Invalidate_resolves_it()
    {
        var principal = await emulator.AddAsync();
        await emulator.SetTokensAsync(new { lifetime_s = 10 });
        await using var source = Build(emulator.ConnectionString + $";Username={principal.Name};Pooling=false", principal);
        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        var first = await provider.GetTokenAsync();
        // A token is not invalidated before a tenth of its lifetime has passed.
        await Task.Delay(1100);
        await emulator.ControlPostgresAsync(new { refuse_next = 1 });
        var refused = await Assert.ThrowsAsync<PostgresException>(async () => await source.OpenConnectionAsync());
        Assert.StartsWith("28", refused.SqlState, StringComparison.Ordinal);
        Assert.True(await provider.InvalidateAsync());
        Assert.NotEqual(first, provider.GetToken());
        Assert.Equal(principal.Name, await UserAsync(source));
        // There is already a newer token than that.
        Assert.True(provider.Invalidate(first));
        Assert.Equal(1, provider.Stats().Invalidations);
    }

    [Fact]
    public async Task Wait_cancelled_during_a_fetch_ends()
    {
        var principal = await emulator.AddAsync();
        await emulator.AddFaultAsync(new { endpoint = "app_service", connection = "black_hole", principal = principal.Name });
        await using var source = Build(emulator.ConnectionString + $";Username={principal.Name}", principal);
        using var cancellation = new CancellationTokenSource();
        var opening = source.OpenConnectionAsync(cancellation.Token).AsTask();
        await Emulator.EventuallyAsync(async () => (await emulator.RequestsAsync(principal)).Count == 1);
        var watch = Stopwatch.StartNew();
        await cancellation.CancelAsync();
        // Npgsql wraps the exceptions of a password provider, including this one.
        var failure = await Assert.ThrowsAnyAsync<Exception>(() => opening);
        Assert.True(failure is OperationCanceledException || failure.InnerException is OperationCanceledException, failure.ToString());
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(5));
        // The engine's wait has ended too; the fetch continues.
        await Emulator.EventuallyAsync(() => Task.FromResult(PendingCall.Count == 0), seconds: 5);

        using var provider = new TokenProvider(new ManagedIdentityCredential(principal.ClientId));
        using var soon = new CancellationTokenSource(TimeSpan.FromMilliseconds(100));
        Assert.ThrowsAny<OperationCanceledException>(() => provider.GetToken(soon.Token));
        await Emulator.EventuallyAsync(() => Task.FromResult(PendingCall.Count == 0), seconds: 5);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await provider.LoginAsync(new(canceled: true)));
        await emulator.ClearFaultsAsync();
    }

    [Fact]
    public async Task NpgsqlException_is_transient_for_transient_failures_only()
    {
        var principal = await emulator.AddAsync("service_principal");
        await emulator.AddFaultAsync(new { endpoint = "token", status = 503, principal = principal.Name });
        await using (var source = Build(emulator.ConnectionString + $";Username={principal.Name}", Secret(principal)))
        {
            var failure = await Assert.ThrowsAsync<NpgsqlException>(async () => await source.OpenConnectionAsync());
            Assert.True(failure.IsTransient);
            Assert.IsType<TimeoutException>(failure.InnerException);
            Assert.Equal("service_unavailable", PgEntraException.Find(failure)!.Code);
            Assert.Equal(503, PgEntraException.Find(failure)!.Detail.GetProperty("status").GetInt32());
        }

        var wrong = new ClientSecretCredential(
            emulator.TenantId, principal.ClientId, "canary-wrong-secret", new() { AuthorityHost = emulator.AuthorityHost });
        await emulator.ClearFaultsAsync();
        await using (var source = Build(emulator.ConnectionString + $";Username={principal.Name}", wrong))
        {
            var failure = Assert.Throws<NpgsqlException>(source.OpenConnection);
            Assert.False(failure.IsTransient);
            var inner = Assert.IsType<AuthenticationFailedException>(failure.InnerException);
            Assert.Equal(7000215, inner.Aadsts);
            Assert.Equal(ErrorKind.AuthenticationFailed, inner.Kind);
            Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task EntityFramework_retries_a_transient_token_failure()
    {
        var principal = await emulator.AddAsync("service_principal");
        await emulator.AddFaultAsync(new { endpoint = "token", status = 503, times = 1, principal = principal.Name });
        await using var source = Build(emulator.ConnectionString + $";Username={principal.Name}", Secret(principal));
        var options = new DbContextOptionsBuilder<DbContext>()
            .UseNpgsql(source, npgsql => npgsql.EnableRetryOnFailure(5, TimeSpan.FromSeconds(2), null))
            .Options;
        await using var context = new DbContext(options);
        var users = await context.Database.SqlQueryRaw<string>("select current_user::text as \"Value\"").ToListAsync();
        Assert.Equal([principal.Name], users);
        Assert.Equal(2, (await emulator.RequestsAsync(principal)).Count);
    }

    [Fact]
    public async Task EntityFramework_configures_the_data_source()
    {
        var options = new DbContextOptionsBuilder<DbContext>()
            .UseNpgsql(emulator.ConnectionString, npgsql => npgsql.ConfigureDataSource(builder => builder.UseEntraAuthentication()))
            .Options;
        await using var context = new DbContext(options);
        var users = await context.Database.SqlQueryRaw<string>("select current_user::text as \"Value\"").ToListAsync();
        Assert.Equal(["app-mi"], users);
    }

    [Fact]
    public void SslMode_is_required_for_a_token()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=db.example;Username=u");
        builder.UseEntraAuthentication(new StaticTokenCredential("t"));
        Assert.Equal(SslMode.Require, builder.ConnectionStringBuilder.SslMode);

        var off = new NpgsqlDataSourceBuilder("Host=db.example;Username=u;SSL Mode=Disable");
        var refused = Assert.ThrowsAny<PgEntraException>(() => off.UseEntraAuthentication(new StaticTokenCredential("t")));
        Assert.Equal("insecure_transport", refused.Code);
        off.UseEntraAuthentication(new StaticTokenCredential("t"), new EntraOptions { AllowInsecureTransport = true });
        Assert.Equal(SslMode.Disable, off.ConnectionStringBuilder.SslMode);
    }

    [Fact]
    public async Task SslMode_disabled_later_is_an_error_before_the_token_is_sent()
    {
        await emulator.ControlPostgresAsync(new { plaintext = true });
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=u");
        builder.UseEntraAuthentication(new StaticTokenCredential("canary-static-token"));
        // 127.0.0.1 as a number, which only .NET reads as this machine.
        builder.ConnectionStringBuilder.SslMode = SslMode.Disable;
        builder.ConnectionStringBuilder.Host = "2130706433";
        await using var source = builder.Build();
        foreach (var failure in new[]
        {
            Assert.ThrowsAny<NpgsqlException>(source.OpenConnection),
            await Assert.ThrowsAnyAsync<NpgsqlException>(async () => await source.OpenConnectionAsync()),
        })
        {
            Assert.Equal(ErrorKind.InsecureTransport, PgEntraException.Find(failure)?.Kind);
        }

        var report = await emulator.CallAsync(HttpMethod.Get, "/postgres");
        Assert.Equal(0, report["counters"]!["plaintext_password_bytes"]!.GetValue<long>());
    }

    [Fact]
    public void EntraOptions_invalid_are_named_in_the_error()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=localhost;Username=u");
        Assert.Throws<ArgumentNullException>(() => builder.UseEntraAuthentication(null, null!));
        Assert.Throws<ArgumentNullException>(() => ((NpgsqlDataSourceBuilder)null!).UseEntraAuthentication());
        foreach (var (options, named) in new (EntraOptions, string)[]
        {
            (new() { Scope = "" }, "scope"),
            (new() { Timeout = TimeSpan.FromSeconds(-1) }, "timeout"),
            (new() { Mode = (RefreshMode)9 }, "mode"),
            (new() { FallbackUsername = " " }, "fallback_username"),
            (new() { User = "" }, "user"),
        })
        {
            var failure = Assert.ThrowsAny<PgEntraException>(() => builder.UseEntraAuthentication(null, options));
            Assert.Equal("invalid_configuration", failure.Code);
            Assert.Contains(named, failure.Message, StringComparison.Ordinal);
        }

        var withPassword = new NpgsqlDataSourceBuilder("Host=localhost;Username=u;Password=canary");
        var refused = Assert.ThrowsAny<PgEntraException>(() => withPassword.UseEntraAuthentication(null, new EntraOptions { RequireEntra = true }));
        Assert.Equal("invalid_connection", refused.Code);
        Assert.DoesNotContain("canary", refused.Message, StringComparison.Ordinal);
    }

    private static NpgsqlDataSource Build(string connectionString, Principal principal) =>
        Build(connectionString, new ManagedIdentityCredential(principal.ClientId));

    private static NpgsqlDataSource Build(string connectionString, PgEntraCredential credential) =>
        new NpgsqlDataSourceBuilder(connectionString).UseEntraAuthentication(credential).Build();

    private static async Task<string> UserAsync(NpgsqlDataSource source)
    {
        await using var command = source.CreateCommand("select current_user");
        return (string)(await command.ExecuteScalarAsync())!;
    }

    private ClientSecretCredential Secret(Principal principal) => new(
        emulator.TenantId,
        principal.ClientId,
        principal.Secret,
        new() { AuthorityHost = emulator.AuthorityHost, Retry = { MaxRetries = 0 } });
}
