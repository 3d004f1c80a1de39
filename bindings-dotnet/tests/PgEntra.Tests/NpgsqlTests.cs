using Npgsql;
using PgEntra.Identity;

namespace PgEntra.Tests;

public sealed class NpgsqlTests(Emulator emulator)
{
    [Fact]
    public async Task Smoke()
    {
        await emulator.ResetAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString);
        builder.UseEntraAuthentication();
        Assert.Equal("app-mi", builder.ConnectionStringBuilder.Username);
        await using var source = builder.Build();
        await using var connection = await source.OpenConnectionAsync();
        await using var command = new NpgsqlCommand("select current_user", connection);
        Assert.Equal("app-mi", await command.ExecuteScalarAsync());
        await emulator.AddFaultAsync(new { endpoint = "token", status = 503 });
        var p = await emulator.AddAsync("service_principal");
        var b2 = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=" + p.Name);
        b2.UseEntraAuthentication(new ClientSecretCredential(emulator.TenantId, p.ClientId, p.Secret, new() { AuthorityHost = emulator.AuthorityHost, Retry = { MaxRetries = 0 } }));
        await using var s2 = b2.Build();
        var e = await Assert.ThrowsAnyAsync<Exception>(async () => await s2.OpenConnectionAsync());
        TestContext.Current.TestOutputHelper!.WriteLine(e.ToString() + (e as NpgsqlException)?.IsTransient);
        var e2 = Assert.ThrowsAny<Exception>(() => s2.OpenConnection());
        TestContext.Current.TestOutputHelper!.WriteLine(e2.ToString());
        using var cts = new CancellationTokenSource(300);
        await emulator.ClearFaultsAsync();
        await emulator.AddFaultAsync(new { endpoint = "token", connection = "black_hole" });
        var p3 = await emulator.AddAsync("service_principal");
        var b3 = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=" + p3.Name);
        b3.UseEntraAuthentication(new ClientSecretCredential(emulator.TenantId, p3.ClientId, p3.Secret, new() { AuthorityHost = emulator.AuthorityHost, Retry = { MaxRetries = 0 } }));
        await using var s3 = b3.Build();
        var e3 = await Assert.ThrowsAnyAsync<Exception>(async () => await s3.OpenConnectionAsync(cts.Token));
        TestContext.Current.TestOutputHelper!.WriteLine(e3.ToString());
        Assert.Fail("show");
    }
}
