using Microsoft.EntityFrameworkCore;
using PgEntra;

namespace Samples;

/// <summary>Entity Framework Core. Its retries also cover a temporary outage of the token service.</summary>
internal static class EntityFrameworkSample
{
    public static async Task<string> RunAsync(string connectionString)
    {
        var options = new DbContextOptionsBuilder<SampleContext>()
            .UseNpgsql(connectionString, npgsql => npgsql
                .ConfigureDataSource(builder => builder.UseEntraAuthentication())
                .EnableRetryOnFailure())
            .Options;
        await using var context = new SampleContext(options);
        return await context.Database.SqlQuery<string>($"select current_user::text as \"Value\"").SingleAsync();
    }

    private sealed class SampleContext(DbContextOptions<SampleContext> options) : DbContext(options);
}
