using Azure.Core;
using Dapper;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using PgEntra.Identity;

namespace PgEntra.Tests;

/// <summary>The origins of a data source's settings: several configurations of one builder, passwords, Service Connector.</summary>
public sealed class ConnectionTests(Emulator emulator) : IAsyncLifetime
{
    private const string AzureHost = "s.postgres.database.azure.com";

    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    // Several configurations of one builder.

    [Fact]
    public async Task Builder_configured_twice_uses_the_role_of_the_last_identity()
    {
        var (first, second) = (await emulator.AddAsync(), await emulator.AddAsync());
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication(Identity(first));
        Assert.Equal(first.Name, builder.ConnectionStringBuilder.Username);
        await builder.UseEntraAuthenticationAsync(Identity(second));
        Assert.Equal(second.Name, builder.ConnectionStringBuilder.Username);
        await using var source = builder.Build();
        Assert.Equal(second.Name, await UserAsync(source));

        var slim = new NpgsqlSlimDataSourceBuilder(emulator.ConnectionString);
        await slim.UseEntraAuthenticationAsync(Identity(first));
        slim.UseEntraAuthentication(Identity(second));
        Assert.Equal(second.Name, slim.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void Builder_configured_twice_uses_the_last_user_option()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=localhost");
        builder.UseEntraAuthentication(Token("one"), new EntraOptions { User = "chosen" });
        Assert.Equal("chosen", builder.ConnectionStringBuilder.Username);
        builder.UseEntraAuthentication(Token("two"));
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);

        var named = new NpgsqlDataSourceBuilder("Host=localhost;Username=kept");
        named.UseEntraAuthentication(Token("one"), new EntraOptions { User = "chosen" });
        named.UseEntraAuthentication(Token("two"));
        Assert.Equal("kept", named.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void Builder_configured_twice_uses_the_last_PGUSER()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=localhost");
        Environment.SetEnvironmentVariable("PGUSER", "from-pguser");
        builder.UseEntraAuthentication(Token("one"));
        Assert.Equal("from-pguser", builder.ConnectionStringBuilder.Username);
        Environment.SetEnvironmentVariable("PGUSER", null);
        builder.UseEntraAuthentication(Token("two"));
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);
    }

    [Theory]
    [InlineData("explicit")]
    [InlineData("one")]
    public void Builder_configured_twice_keeps_a_user_of_the_application(string user)
    {
        var builder = new NpgsqlDataSourceBuilder("Host=localhost");
        builder.UseEntraAuthentication(Token("one"));
        // Also the name that the token contained.
        builder.ConnectionStringBuilder.Username = user;
        builder.UseEntraAuthentication(Token("two"));
        builder.UseEntraAuthentication(Token("three"));
        Assert.Equal(user, builder.ConnectionStringBuilder.Username);

        builder.ConnectionStringBuilder.Username = null;
        builder.UseEntraAuthentication(Token("two"));
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void Builder_with_a_reassigned_connection_string_drops_a_derived_role()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=localhost");
        builder.UseEntraAuthentication(Token("one"));
        builder.ConnectionStringBuilder.ConnectionString += ";Timeout=5";
        builder.UseEntraAuthentication(Token("two"));
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);
        Assert.Equal(5, builder.ConnectionStringBuilder.Timeout);
        builder.ConnectionStringBuilder.Host = "127.0.0.1";
        builder.UseEntraAuthentication(Token("three"));
        Assert.Equal("three", builder.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void Builder_after_a_failed_configuration_is_unchanged()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=db.example");
        builder.UseEntraAuthentication(Token("one"));
        var before = builder.ConnectionString;
        Assert.ThrowsAny<PgEntraException>(() => builder.UseEntraAuthentication(new StaticTokenCredential("not-a-token")));
        Assert.Equal(before, builder.ConnectionString);
        builder.UseEntraAuthentication(Token("two"));
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void Builder_configured_twice_uses_the_TLS_rule_of_the_last_configuration()
    {
        var builder = new NpgsqlDataSourceBuilder("Host=db.example;Username=u");
        builder.UseEntraAuthentication(Token("one"));
        Assert.Equal(SslMode.Require, builder.ConnectionStringBuilder.SslMode);
        builder.UseEntraAuthentication(Token("one"), new EntraOptions { AllowInsecureTransport = true });
        Assert.Equal(SslMode.Prefer, builder.ConnectionStringBuilder.SslMode);
        builder.UseEntraAuthentication(Token("one"));
        Assert.Equal(SslMode.Require, builder.ConnectionStringBuilder.SslMode);
        builder.ConnectionStringBuilder.SslMode = SslMode.VerifyFull;
        builder.UseEntraAuthentication(Token("one"), new EntraOptions { AllowInsecureTransport = true });
        Assert.Equal(SslMode.VerifyFull, builder.ConnectionStringBuilder.SslMode);
        builder.ConnectionStringBuilder.SslMode = SslMode.Disable;
        Assert.Equal(
            "insecure_transport", Assert.ThrowsAny<PgEntraException>(() => builder.UseEntraAuthentication(Token("one"))).Code);
    }

    [Fact]
    public async Task EntityFramework_configures_a_data_source_twice()
    {
        var (first, second) = (await emulator.AddAsync(), await emulator.AddAsync());
        foreach (var (principal, other) in new[] { (first, second), (second, first) })
        {
            // Each has its own pool.
            var options = new DbContextOptionsBuilder<DbContext>()
                .UseNpgsql(
                    emulator.ConnectionString + $";Application Name={principal.Name}",
                    npgsql => npgsql
                        .ConfigureDataSource(builder => builder.UseEntraAuthentication(Identity(other)))
                        .ConfigureDataSource(builder => builder.UseEntraAuthentication(Identity(other)).UseEntraAuthentication(Identity(principal))))
                .Options;
            await using var context = new DbContext(options);
            var users = await context.Database.SqlQueryRaw<string>("select current_user::text as \"Value\"").ToListAsync();
            Assert.Equal([principal.Name], users);
        }
    }

    // Passwords.

    [Theory]
    [InlineData("", null)]
    [InlineData(";Username=u", null)]
    [InlineData("", "from-pguser")]
    public void Password_is_an_error_of_Npgsql_or_of_RequireEntra(string user, string? variable)
    {
        Environment.SetEnvironmentVariable("PGUSER", variable);
        var builder = new NpgsqlDataSourceBuilder($"Host=localhost;Password=canary{user}");
        var refusing = new CallbackCredential(_ => throw new InvalidOperationException("no token is needed"));
        builder.UseEntraAuthentication(refusing);
        Assert.Throws<NotSupportedException>(builder.Build);
        var failure = Assert.ThrowsAny<PgEntraException>(
            () => builder.UseEntraAuthentication(refusing, new EntraOptions { RequireEntra = true }));
        Assert.Equal("invalid_connection", failure.Code);
        Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
    }

    // Azure Service Connector.

    [Theory]
    [InlineData("system-assigned")]
    [InlineData("user-assigned")]
    [InlineData("service-principal")]
    public async Task ServiceConnector_variables_alone_log_in(string identity)
    {
        var role = $"aad_{identity}_{Environment.ProcessId}";
        switch (identity)
        {
            case "system-assigned":
                Environment.SetEnvironmentVariable("IDENTITY_ENDPOINT", null);
                Environment.SetEnvironmentVariable("IDENTITY_HEADER", null);
                Environment.SetEnvironmentVariable("AZURE_POD_IDENTITY_AUTHORITY_HOST", emulator.ImdsHost);
                await CreateRoleAsync(role, "vm-prod");
                break;
            case "user-assigned":
                var assigned = await emulator.AddAsync(settings: settings => settings["role"] = role);
                Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_CLIENTID", assigned.ClientId);
                break;
            default:
                var application = await emulator.AddAsync("service_principal", settings => settings["role"] = role);
                Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_CLIENTID", application.ClientId);
                Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_CLIENTSECRET", application.Secret);
                Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_TENANTID", emulator.TenantId);
                Environment.SetEnvironmentVariable("AZURE_AUTHORITY_HOST", emulator.AuthorityHost.OriginalString);
                break;
        }

        Environment.SetEnvironmentVariable(
            "AZURE_POSTGRESQL_CONNECTIONSTRING",
            $"Server=localhost;Database=postgres;Port={emulator.Port};Ssl Mode=Require;User Id={role};");
        var builder = new NpgsqlDataSourceBuilder();
        builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true });
        await using (var source = builder.Build())
        {
            Assert.Equal(role, await UserAsync(source));
            await using var connection = source.OpenConnection();
            Assert.Equal(role, connection.ExecuteScalar<string>("select current_user"));
        }

        var slim = new NpgsqlSlimDataSourceBuilder();
        await slim.UseEntraAuthenticationAsync(null, new EntraOptions { ServiceConnector = ServiceConnector.Only });
        await using (var source = slim.Build())
        {
            Assert.Equal(role, await UserAsync(source));
        }

        using (var provider = new TokenProvider(options: new EntraOptions { ServiceConnector = true }))
        {
            var login = await provider.LoginAsync();
            Assert.Equal(role, login.User);
            await using var source = NpgsqlDataSource.Create(
                $"{builder.ConnectionString};Username={login.User};Password={login.Password}");
            Assert.Equal(role, await UserAsync(source));
        }

        if (Environment.GetEnvironmentVariable("PGENTRA_WORKS") is { Length: > 0 } works)
        {
            await File.AppendAllTextAsync(works, $"connector: {identity} / Npgsql / .NET\n");
        }
    }

    [Fact]
    public void ServiceConnector_verifies_the_certificate_of_an_Azure_server()
    {
        Connect("AZURE_POSTGRESQL_", AzureHost);
        var builder = Connected();
        Assert.Equal(AzureHost, builder.ConnectionStringBuilder.Host);
        Assert.Equal("d", builder.ConnectionStringBuilder.Database);
        Assert.Equal(5432, builder.ConnectionStringBuilder.Port);
        Assert.Equal("aad_shop", builder.ConnectionStringBuilder.Username);
        Assert.Equal(SslMode.VerifyFull, builder.ConnectionStringBuilder.SslMode);

        var explicitly = Connected("SSL Mode=Require;Username=alice;Database=other");
        Assert.Equal(SslMode.Require, explicitly.ConnectionStringBuilder.SslMode);
        Assert.Equal("alice", explicitly.ConnectionStringBuilder.Username);
        Assert.Equal("other", explicitly.ConnectionStringBuilder.Database);
        Assert.Equal(AzureHost, explicitly.ConnectionStringBuilder.Host);

        // An earlier configuration's Require is not the application's.
        var raised = new NpgsqlDataSourceBuilder($"Host={AzureHost}");
        raised.UseEntraAuthentication(Token("one"));
        Assert.Equal(SslMode.Require, raised.ConnectionStringBuilder.SslMode);
        raised.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true });
        Assert.Equal(SslMode.VerifyFull, raised.ConnectionStringBuilder.SslMode);
        Assert.Equal("aad_shop", raised.ConnectionStringBuilder.Username);
    }

    [Fact]
    public void ServiceConnector_selects_the_only_or_the_named_connection()
    {
        Connect("AZURE_POSTGRESQL_", "one.example", "aad_one");
        Connect("AZURE_POSTGRESQL_ORDERS_", "two.example", "aad_two");
        Connect("SHOPDB_", "three.example", "aad_three");
        var several = Assert.ThrowsAny<PgEntraException>(() => Connected());
        Assert.Equal("invalid_connection", several.Code);
        Assert.Contains("AZURE_POSTGRESQL_ORDERS_*", several.Message, StringComparison.Ordinal);

        // The last configuration counts for each setting.
        var builder = new NpgsqlDataSourceBuilder();
        foreach (var (name, host, user) in new[]
        {
            ("orders", "two.example", "aad_two"),
            ("SHOPDB_", "three.example", "aad_three"),
            ("AZURE_POSTGRESQL_", "one.example", "aad_one"),
        })
        {
            builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = name });
            Assert.Equal(host, builder.ConnectionStringBuilder.Host);
            Assert.Equal(user, builder.ConnectionStringBuilder.Username);
        }

        builder.UseEntraAuthentication(Token("two"));
        Assert.Null(builder.ConnectionStringBuilder.Host);
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);

        var unset = Assert.ThrowsAny<PgEntraException>(
            () => builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = "billing" }));
        Assert.Contains("billing", unset.Message, StringComparison.Ordinal);
        builder.UseEntraAuthentication(Token("two"), new EntraOptions { ServiceConnector = false });
    }

    [Fact]
    public async Task ServiceConnector_with_a_password_logs_in_with_it()
    {
        // Without a token, even if an earlier configuration used one.
        Connect("AZURE_POSTGRESQL_", "password.example", "alice", ";Password=canary-password");
        var builder = new NpgsqlDataSourceBuilder("Host=password.example");
        builder.UseEntraAuthentication(Token("one"));
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(factory);
        try
        {
            builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true });
            builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true });
        }
        finally
        {
            PgEntraLogging.Use(null);
        }

        Assert.Equal("canary-password", builder.ConnectionStringBuilder.Password);
        Assert.Equal("alice", builder.ConnectionStringBuilder.Username);
        await using (builder.Build())
        {
        }

        var line = Assert.Single(log.Lines, line => line.StartsWith("PgEntra Warning ", StringComparison.Ordinal));
        Assert.Contains("Entra is not used", line, StringComparison.Ordinal);
        Assert.DoesNotContain("canary", line, StringComparison.Ordinal);

        var required = Assert.ThrowsAny<PgEntraException>(
            () => builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true, RequireEntra = true }));
        Assert.Contains("RequireEntra", required.Message, StringComparison.Ordinal);
        Assert.Equal("invalid_connection", Assert.ThrowsAny<PgEntraException>(
            () => new TokenProvider(options: new EntraOptions { ServiceConnector = true })).Code);

        builder.UseEntraAuthentication(Token("two"));
        Assert.Null(builder.ConnectionStringBuilder.Password);
        Assert.Equal("two", builder.ConnectionStringBuilder.Username);
        await using (builder.Build())
        {
        }
    }

    [Fact]
    public void ServiceConnector_password_without_a_user_is_not_used()
    {
        Environment.SetEnvironmentVariable("IDENTITY_ENDPOINT", null);
        Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_CONNECTIONSTRING", "Server=nouser.example;Database=d;Password=canary;");
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(null);
        var builder = new NpgsqlDataSourceBuilder();
        try
        {
            // The role would come from a token, but no identity is available.
            Assert.ThrowsAny<PgEntraException>(() => builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true }));
            // A warning that precedes the first logger is not lost.
            PgEntraLogging.Use(factory);
            var line = log.WaitFor("The password of the connection to nouser.example is not used");
            Assert.StartsWith("PgEntra Warning ", line, StringComparison.Ordinal);
            Assert.DoesNotContain("canary", line, StringComparison.Ordinal);
        }
        finally
        {
            PgEntraLogging.Use(null);
        }
    }

    [Fact]
    public void ServiceConnector_with_a_credential_is_an_error()
    {
        Connect("AZURE_POSTGRESQL_", AzureHost);
        var options = new EntraOptions { ServiceConnector = true };
        var builder = new NpgsqlDataSourceBuilder();
        TokenCredential theirs = new Azure.Identity.DefaultAzureCredential();
        foreach (var use in new Action[]
        {
            () => builder.UseEntraAuthentication(new Identity.DefaultAzureCredential(), options),
            () => builder.UseEntraAuthentication(theirs, options),
            () => _ = new TokenProvider(Token("one"), options),
        })
        {
            var failure = Assert.ThrowsAny<PgEntraException>(use);
            Assert.Equal("invalid_connection", failure.Code);
            Assert.Contains("ServiceConnector", failure.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void ServiceConnector_settings_become_those_of_Npgsql()
    {
        Environment.SetEnvironmentVariable(
            "AZURE_POSTGRESQL_CONNECTIONSTRING",
            "Server=one.example:6432,[::1]:6433;Database=d;User Id=u;Ssl Mode=VerifyCA;Timeout=7;Maximum Pool Size=3;Unknown Setting=1");
        using var log = new RecordingLogger();
        using (var factory = log.Factory())
        {
            PgEntraLogging.Use(factory);
            try
            {
                var builder = Connected().ConnectionStringBuilder;
                Assert.Equal("one.example:6432,[::1]:6433", builder.Host);
                Assert.Equal(SslMode.VerifyCA, builder.SslMode);
                Assert.Equal(7, builder.Timeout);
                Assert.Equal(3, builder.MaxPoolSize);
                Assert.Contains(log.Lines, line => line.Contains("Unknown Setting", StringComparison.Ordinal));
            }
            finally
            {
                PgEntraLogging.Use(null);
            }
        }

        Environment.SetEnvironmentVariable(
            "AZURE_POSTGRESQL_CONNECTIONSTRING", "jdbc:postgresql://s.example:5433/d?sslmode=require&user=u&ApplicationName=shop");
        Assert.Equal("Host=s.example;Port=5433;Database=d;Username=u;SSL Mode=Require;Application Name=shop;GSS Encryption Mode=Disable".Split(';').Order(),
            Connected().ConnectionString.Split(';').Order());

        // The error names the setting, not its value.
        foreach (var (text, named) in new[]
        {
            // The TLS rule would apply to the address, and Npgsql would connect to the name.
            ("host=db.example hostaddr=127.0.0.1 user=u", "hostaddr"),
            ("host=db.example port=canary user=u", "the port"),
            ("host=db.example sslmode=canary user=u", "SSL Mode"),
        })
        {
            Environment.SetEnvironmentVariable("AZURE_POSTGRESQL_CONNECTIONSTRING", text);
            var failure = Assert.ThrowsAny<PgEntraException>(() => Connected());
            Assert.Equal("invalid_connection", failure.Code);
            Assert.Contains(named, failure.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
        }
    }

    // The TLS rule.

    [Theory]
    [InlineData(SslMode.Disable)]
    [InlineData(SslMode.Allow)]
    [InlineData(SslMode.Prefer)]
    public async Task PasswordProvider_without_TLS_sends_no_byte_of_a_token(SslMode mode)
    {
        await emulator.ControlPostgresAsync(new { plaintext = true });
        foreach (var allowed in new[] { false, true })
        {
            var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=u;Pooling=false");
            builder.UseEntraAuthentication(Token("one"), new EntraOptions { AllowInsecureTransport = allowed });
            // 127.0.0.1 as a number, which only .NET reads as this machine.
            builder.ConnectionStringBuilder.Host = "2130706433";
            builder.ConnectionStringBuilder.SslMode = mode;
            await using var source = builder.Build();
            var failures = new[]
            {
                Assert.ThrowsAny<NpgsqlException>(source.OpenConnection),
                await Assert.ThrowsAnyAsync<NpgsqlException>(async () => await source.OpenConnectionAsync()),
            };
            var report = await emulator.CallAsync(HttpMethod.Get, "/postgres");
            var bytes = report["counters"]!["plaintext_password_bytes"]!.GetValue<long>();
            if (allowed)
            {
                // The server requests the password.
                Assert.True(bytes > 0);
                continue;
            }

            Assert.Equal(0, bytes);
            if (mode != SslMode.Allow)
            {
                // With Allow the last error is that of the second attempt, with TLS.
                Assert.All(failures, failure => Assert.Equal(ErrorKind.InsecureTransport, PgEntraException.Find(failure)?.Kind));
            }
        }
    }

    [Fact]
    public async Task PasswordProvider_TLS_check_allocates_nothing()
    {
        var builder = new NpgsqlConnectionStringBuilder("Host=db.example;Username=u");
        var entra = new EntraAuthentication(builder, Token("one"), new EntraOptions());
        entra.Configure(default);
        var (password, passwordAsync) = (entra.PasswordProvider!, entra.PasswordProviderAsync!);
        var token = await passwordAsync(builder, default);
        Assert.Same(token, password(builder));
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var index = 0; index < 100; index++)
        {
            _ = password(builder);
            _ = passwordAsync(builder, default);
        }

        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    private static NpgsqlDataSourceBuilder Connected(string connectionString = "")
    {
        var builder = new NpgsqlDataSourceBuilder(connectionString);
        return builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true });
    }

    /// <summary>Sets the variables of a connection with a user-assigned identity, in the form of the client type dotnet.</summary>
    private static void Connect(string prefix, string host, string user = "aad_shop", string more = "")
    {
        Environment.SetEnvironmentVariable(
            prefix + "CONNECTIONSTRING", $"Server={host};Database=d;Port=5432;Ssl Mode=Require;User Id={user}{more};");
        Environment.SetEnvironmentVariable(prefix + "CLIENTID", "bbbbbbbb-0000-0000-0000-00000000000b");
    }

    /// <summary>A credential whose token names a role.</summary>
    private static StaticTokenCredential Token(string role) =>
        new($"e30.{Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes($$"""{"upn":"{{role}}"}"""))}.sig", DateTimeOffset.UtcNow.AddHours(1));

    private static ManagedIdentityCredential Identity(Principal principal) => new(principal.ClientId);

    private static async Task<string> UserAsync(NpgsqlDataSource source)
    {
        await using var command = source.CreateCommand("select current_user");
        return (string)(await command.ExecuteScalarAsync())!;
    }

    /// <summary>Creates a role as Service Connector does.</summary>
    private async Task CreateRoleAsync(string role, string principal)
    {
        var oid = (await emulator.CallAsync(HttpMethod.Get, "/principals")).AsArray()
            .First(one => one!["name"]!.GetValue<string>() == principal)!["oid"]!.GetValue<string>();
        var minted = await emulator.MintAsync("admin@contoso.example");
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=admin@contoso.example");
        builder.UseEntraAuthentication(new StaticTokenCredential(minted["token"]!.GetValue<string>()));
        await using var source = builder.Build();
        await using var command = source.CreateCommand("select pgaadauth_create_principal_with_oid($1, $2, 'service', false, false)");
        command.Parameters.AddWithValue(role);
        command.Parameters.AddWithValue(oid);
        await command.ExecuteNonQueryAsync();
    }
}
