using Dapper;
using Microsoft.EntityFrameworkCore;
using Npgsql;
using PgEntra.Identity;

namespace PgEntra.Tests;

/// <summary>Libraries that take only a connection string, placeholder passwords, and tools that run at design time.</summary>
public sealed class ConnectionStringTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public ValueTask DisposeAsync() => default;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task EntraConnectionString_logs_in_where_only_a_text_can_be_passed(bool synchronous)
    {
        var principal = await emulator.AddAsync();
        var credential = new ManagedIdentityCredential(principal.ClientId);
        var text = synchronous
            ? EntraConnectionString.Get(emulator.ConnectionString, credential)
            : await EntraConnectionString.GetAsync(emulator.ConnectionString, credential);
        await using var connection = new NpgsqlConnection(text + ";Pooling=false");
        Assert.Equal(principal.Name, connection.ExecuteScalar<string>("select current_user"));
        Assert.Equal(principal.Name, new NpgsqlConnectionStringBuilder(text).Username);
    }

    [Fact]
    public void EntraConnectionString_requires_TLS_and_rejects_a_password()
    {
        var credential = new StaticTokenCredential("canary-token");
        var settings = new NpgsqlConnectionStringBuilder(EntraConnectionString.Get("Host=db.example;Username=u", credential));
        Assert.Equal((SslMode.Require, "canary-token"), (settings.SslMode, settings.Password));
        Assert.Equal("insecure_transport", Assert.ThrowsAny<PgEntraException>(
            () => EntraConnectionString.Get("Host=db.example;Username=u;SSL Mode=Disable", credential)).Code);
        foreach (var text in new[] { "Password=canary", "Passfile=/canary" })
        {
            var failure = Assert.ThrowsAny<PgEntraException>(() => EntraConnectionString.Get($"Host=db.example;Username=u;{text}", credential));
            Assert.Equal("invalid_connection", failure.Code);
            Assert.DoesNotContain("canary", failure.ToString(), StringComparison.Ordinal);
        }

        var ignoring = new EntraOptions { IgnorePassword = true };
        settings = new(EntraConnectionString.Get("Host=db.example;Username=u;Password=placeholder", credential, ignoring));
        Assert.Equal("canary-token", settings.Password);
    }

    [Fact]
    public async Task NpgsqlConnection_of_a_library_requests_a_token_for_each_physical_connection()
    {
        var principal = await emulator.AddAsync();
        await using var connection = new NpgsqlConnection(emulator.ConnectionString + ";Pooling=false");
        Assert.Same(connection, connection.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId)));
        Assert.Equal(principal.Name, await connection.ExecuteScalarAsync<string>("select current_user"));
        await connection.CloseAsync();
        Assert.DoesNotContain("eyJ", connection.ConnectionString, StringComparison.Ordinal);
        Assert.Equal(principal.Name, connection.ExecuteScalar<string>("select current_user"));
        connection.Close();

        // A mode that is changed later. 127.0.0.1 as a number, which only .NET reads as this machine.
        await emulator.ControlPostgresAsync(new { plaintext = true });
        connection.ConnectionString = new NpgsqlConnectionStringBuilder(connection.ConnectionString)
        {
            Host = "2130706433",
            SslMode = SslMode.Disable,
        }.ConnectionString;
        Assert.Equal(ErrorKind.InsecureTransport, PgEntraException.Find(Assert.ThrowsAny<NpgsqlException>(connection.Open))?.Kind);
        var report = await emulator.CallAsync(HttpMethod.Get, "/postgres");
        Assert.Equal(0, report["counters"]!["plaintext_password_bytes"]!.GetValue<long>());

        await using var insecure = new NpgsqlConnection("Host=db.example;Username=u;SSL Mode=Disable");
        Assert.Equal("insecure_transport", Assert.ThrowsAny<PgEntraException>(() => insecure.UseEntraAuthentication()).Code);
        await using var withPassword = new NpgsqlConnection("Host=db.example;Username=u;Password=canary");
        Assert.Equal("invalid_connection", Assert.ThrowsAny<PgEntraException>(() => withPassword.UseEntraAuthentication()).Code);
    }

    [Theory]
    [InlineData("Password=placeholder")]
    [InlineData("Passfile=/no/such/file")]
    public async Task IgnorePassword_drops_a_placeholder_and_keeps_the_user(string placeholder)
    {
        var principal = await emulator.AddAsync();
        var credential = new ManagedIdentityCredential(principal.ClientId);
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(factory);
        try
        {
            var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";Username={principal.Name};{placeholder}");
            await builder.UseEntraAuthenticationAsync(credential, new EntraOptions { IgnorePassword = true });
            Assert.Null(builder.ConnectionStringBuilder.Password);
            Assert.Null(builder.ConnectionStringBuilder.Passfile);
            await using var source = builder.Build();
            await using var connection = source.OpenConnection();
            Assert.Equal(principal.Name, connection.ExecuteScalar<string>("select current_user"));

            // Without the option the placeholder is a password again.
            builder.UseEntraAuthentication(credential);
            if (placeholder.StartsWith("Password", StringComparison.Ordinal))
            {
                Assert.Throws<NotSupportedException>(builder.Build);
            }

            // The role of the token, if the settings have none.
            var derived = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";{placeholder}");
            derived.UseEntraAuthentication(credential, new EntraOptions { IgnorePassword = true });
            Assert.Equal(principal.Name, derived.ConnectionStringBuilder.Username);
        }
        finally
        {
            PgEntraLogging.Use(null);
        }
    }

    [Fact]
    public void IgnorePassword_logs_one_line_and_contradicts_RequireEntra()
    {
        using var log = new RecordingLogger();
        using var factory = log.Factory();
        PgEntraLogging.Use(factory);
        try
        {
            for (var index = 0; index < 3; index++)
            {
                var builder = new NpgsqlDataSourceBuilder("Host=ignored.example;Username=u;Password=canary");
                builder.UseEntraAuthentication(new StaticTokenCredential("t"), new EntraOptions { IgnorePassword = true });
            }

            Assert.StartsWith("PgEntra Information ", log.WaitFor("IgnorePassword"), StringComparison.Ordinal);
            Assert.Single(log.Lines, line => line.Contains("IgnorePassword", StringComparison.Ordinal));
            Assert.DoesNotContain(log.Lines, line => line.Contains("canary", StringComparison.Ordinal));
        }
        finally
        {
            PgEntraLogging.Use(null);
        }

        var both = new NpgsqlDataSourceBuilder("Host=localhost;Username=u;Password=canary");
        var failure = Assert.ThrowsAny<PgEntraException>(() => both.UseEntraAuthentication(
            new StaticTokenCredential("t"), new EntraOptions { IgnorePassword = true, RequireEntra = true }));
        Assert.Contains("IgnorePassword", failure.Message, StringComparison.Ordinal);
        Assert.Contains("RequireEntra", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void IgnorePassword_applies_to_Service_Connector()
    {
        Environment.SetEnvironmentVariable(
            "AZURE_POSTGRESQL_CONNECTIONSTRING", "Server=connector.example;Database=d;User Id=aad_shop;Password=canary;");
        var builder = new NpgsqlDataSourceBuilder();
        builder.UseEntraAuthentication(null, new EntraOptions { ServiceConnector = true, IgnorePassword = true });
        Assert.Null(builder.ConnectionStringBuilder.Password);
        Assert.Equal(("connector.example", "aad_shop"), (builder.ConnectionStringBuilder.Host, builder.ConnectionStringBuilder.Username));
        using var provider = new TokenProvider(options: new EntraOptions { ServiceConnector = true, IgnorePassword = true });
    }

    [Theory]
    [InlineData("connection string")]
    [InlineData("option")]
    [InlineData("PGUSER")]
    public async Task DesignTime_with_a_named_user_needs_no_identity(string named)
    {
        Environment.SetEnvironmentVariable("IDENTITY_ENDPOINT", null);
        Environment.SetEnvironmentVariable("PGUSER", named == "PGUSER" ? "shop" : null);
        var options = new DbContextOptionsBuilder<ShopContext>()
            .UseNpgsql(
                "Host=s.postgres.database.azure.com;Database=design" + (named == "connection string" ? ";Username=shop" : ""),
                npgsql => npgsql.ConfigureDataSource(builder => builder.UseEntraAuthentication(
                    null, new EntraOptions { User = named == "option" ? "shop" : null })))
            .Options;
        await using var context = new ShopContext(options);
        // What `dotnet ef migrations add` and `dotnet ef dbcontext script` do.
        Assert.Contains("CREATE TABLE", context.Database.GenerateCreateScript(), StringComparison.Ordinal);
        Assert.Empty(context.Database.GetMigrations());
        Assert.Empty(await emulator.RequestsAsync());

        var unnamed = new NpgsqlDataSourceBuilder("Host=s.postgres.database.azure.com");
        Environment.SetEnvironmentVariable("PGUSER", null);
        Environment.SetEnvironmentVariable("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential");
        Assert.Equal("credential_unavailable", Assert.ThrowsAny<PgEntraException>(() => unnamed.UseEntraAuthentication()).Code);
    }

    private sealed class ShopContext(DbContextOptions<ShopContext> options) : DbContext(options)
    {
        public DbSet<Order> Orders => Set<Order>();
    }

    private sealed class Order
    {
        public int Id { get; set; }
    }
}
