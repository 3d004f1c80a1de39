using Microsoft.EntityFrameworkCore;
using PgEntra;

namespace Samples;

/// <summary>Entity Framework Core. A token service that is down for a moment is retried like a database that is.</summary>
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
