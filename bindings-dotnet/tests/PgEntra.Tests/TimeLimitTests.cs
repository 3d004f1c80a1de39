using Npgsql;
using PgEntra.Identity;

namespace PgEntra.Tests;

/// <summary>The error of a connection's time limit contains the cause, and arrives before Npgsql's own error.</summary>
public sealed class TimeLimitTests(Emulator emulator) : IAsyncLifetime
{
    public async ValueTask InitializeAsync() => await emulator.ResetAsync();

    public async ValueTask DisposeAsync() => await emulator.ResetAsync();

    [Theory]
    [InlineData("Timeout=1", "0.5", true)]
    [InlineData("Timeout=3", "2.4", false)]
    [InlineData("Timeout=3", "2.4", true)]
    [InlineData("Application Name=default", "12", false)]
    public async Task Timeout_with_a_hung_endpoint_names_the_endpoint(string setting, string limit, bool synchronous)
    {
        var failure = await OpenAsync(new { connection = "black_hole" }, setting, synchronous);
        Assert.Equal(ErrorKind.Timeout, failure.Kind);
        Assert.Matches(
            $"ManagedIdentityCredential: no token was received within {limit} s; no response from 127.0.0.1:.* for .* s", failure.Message);
    }

    [Theory]
    [InlineData(3, false)]
    [InlineData(3, true)]
    [InlineData(2, false)]
    public async Task Timeout_with_a_failing_endpoint_contains_its_last_response(int seconds, bool synchronous)
    {
        var failure = await OpenAsync(new { status = 503 }, $"Timeout={seconds}", synchronous);
        Assert.Equal(ErrorKind.Timeout, failure.Kind);
        Assert.Contains("the last attempt failed: ", failure.Message, StringComparison.Ordinal);
        Assert.Contains("HTTP 503", failure.Message, StringComparison.Ordinal);
        Assert.Equal(503, failure.Detail.GetProperty("status").GetInt32());
    }

    [Fact]
    public async Task Timeout_by_default_leaves_time_for_the_retries_of_a_failing_endpoint()
    {
        var failure = await OpenAsync(new { status = 503 }, "Application Name=default", synchronous: false);
        Assert.Equal(ErrorKind.ServiceUnavailable, failure.Kind);
        Assert.Contains("HTTP 503", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Timeout_with_a_custom_credential_that_does_not_respond_names_it()
    {
        var credential = new CallbackCredential(async (_, _) =>
        {
            await Task.Delay(TimeSpan.FromSeconds(20), CancellationToken.None);
            return default;
        });
        await using var source = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=u;Timeout=2")
            .UseEntraAuthentication(credential).Build();
        var failure = PgEntraException.Find(await Assert.ThrowsAsync<NpgsqlException>(async () => await source.OpenConnectionAsync()));
        Assert.NotNull(failure);
        Assert.Contains("CallbackCredential: no token was received within 1.6 s", failure.Message, StringComparison.Ordinal);
        Assert.Contains("no response from the credential's own code", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task GssEncryption_is_disabled_unless_the_application_sets_it()
    {
        var principal = await emulator.AddAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=u");
        builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        Assert.Equal(GssEncryptionMode.Disable, builder.ConnectionStringBuilder.GssEncryptionMode);

        builder.ConnectionStringBuilder.GssEncryptionMode = GssEncryptionMode.Prefer;
        builder.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        Assert.Equal(GssEncryptionMode.Prefer, builder.ConnectionStringBuilder.GssEncryptionMode);

        Environment.SetEnvironmentVariable("PGGSSENCMODE", "prefer");
        var variable = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=u");
        variable.UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId));
        Assert.DoesNotContain("GSS", variable.ConnectionString, StringComparison.Ordinal);
    }

    private async Task<PgEntraException> OpenAsync(object fault, string setting, bool synchronous)
    {
        var principal = await emulator.AddAsync();
        var json = System.Text.Json.JsonSerializer.SerializeToNode(fault)!.AsObject();
        (json["endpoint"], json["principal"]) = ("app_service", principal.Name);
        await emulator.AddFaultAsync(json);
        await using var source = new NpgsqlDataSourceBuilder(emulator.ConnectionString + $";Username={principal.Name};{setting}")
            .UseEntraAuthentication(new ManagedIdentityCredential(principal.ClientId)).Build();
        var failure = synchronous
            ? Assert.ThrowsAny<NpgsqlException>(source.OpenConnection)
            : await Assert.ThrowsAnyAsync<NpgsqlException>(async () => await source.OpenConnectionAsync());
        Assert.True(failure.IsTransient, failure.ToString());
        return PgEntraException.Find(failure) ?? throw new InvalidOperationException($"no cause: {failure}");
    }
}
