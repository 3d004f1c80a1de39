using Azure.Identity;
using Npgsql;
using PgEntra;

namespace Consumer;

/// <summary>What a program writes that uses Azure.Identity and PgEntra side by side: that it compiles is the test.</summary>
public sealed class CompileTests(PgEntra.Tests.Emulator emulator)
{
    [Fact]
    public async Task Nothing_is_ambiguous()
    {
        await emulator.ResetAsync();
        var builder = new NpgsqlDataSourceBuilder(emulator.ConnectionString + ";Username=app-mi");
        builder.UseEntraAuthentication();
        builder.UseEntraAuthentication(null);
        builder.UseEntraAuthentication(credential: null);
        builder.UseEntraAuthentication(null, new EntraOptions());
        builder.UseEntraAuthentication(cancellationToken: default);
        builder.UseEntraAuthentication(new DefaultAzureCredential());
        builder.UseEntraAuthentication(new DefaultAzureCredential(), CancellationToken.None);
        builder.UseEntraAuthentication(new DefaultAzureCredential(), new EntraOptions { FallbackUsername = "x" });
        builder.UseEntraAuthentication(new PgEntra.Identity.DefaultAzureCredential());
        builder.UseEntraAuthentication(new PgEntra.AzureCore.DefaultAzureCredential());
        Azure.Core.TokenCredential? none = null;
        builder.UseEntraAuthentication(none);
        await builder.UseEntraAuthenticationAsync();
        await builder.UseEntraAuthenticationAsync(null);
        await builder.UseEntraAuthenticationAsync(new DefaultAzureCredential(), CancellationToken.None);
        var slim = new NpgsqlSlimDataSourceBuilder(emulator.ConnectionString + ";Username=app-mi");
        slim.UseEntraAuthentication();
        slim.UseEntraAuthentication(null);
        slim.UseEntraAuthentication(new DefaultAzureCredential());
        await slim.UseEntraAuthenticationAsync(null);
    }
}
