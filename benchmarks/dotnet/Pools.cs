using System.Diagnostics;
using System.Globalization;
using Npgsql;
using PgEntra;

namespace PgEntra.Benchmarks;

/// <summary>The pool of benchmarks/soak.py in .NET: Npgsql, a line for each login.</summary>
internal static class Pools
{
    private const int Size = 4;
    private static readonly TimeSpan Kept = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan AfterFailure = TimeSpan.FromMilliseconds(200);

    public static async Task RunAsync()
    {
        var settings = new NpgsqlConnectionStringBuilder
        {
            Host = Environment.GetEnvironmentVariable("PGHOST"),
            Port = int.Parse(Environment.GetEnvironmentVariable("PGPORT")!, CultureInfo.InvariantCulture),
            Database = Environment.GetEnvironmentVariable("PGDATABASE"),
            SslMode = SslMode.VerifyFull,
            RootCertificate = Environment.GetEnvironmentVariable("PGSSLROOTCERT"),
            // Each connection is new.
            Pooling = false,
        };
        var source = new NpgsqlDataSourceBuilder(settings.ConnectionString).UseEntraAuthentication().Build();
        for (var index = 0; index < Size; index++)
        {
            // Half of them log in synchronously.
            _ = index % 2 == 0 ? RepeatAsync(source) : Task.Factory.StartNew(() => Repeat(source), TaskCreationOptions.LongRunning);
        }

        // Standard input ends when the program is to end.
        await Console.In.ReadToEndAsync();
    }

    private static async Task RepeatAsync(NpgsqlDataSource source)
    {
        while (true)
        {
            var (began, watch) = (DateTimeOffset.UtcNow, Stopwatch.StartNew());
            try
            {
                await using var connection = await source.OpenConnectionAsync();
                await using var command = new NpgsqlCommand("select current_user", connection);
                Print("Npgsql, async", began, watch, (string)(await command.ExecuteScalarAsync())!, "");
                await Task.Delay(Kept);
            }
            catch (Exception problem)
            {
                Print("Npgsql, async", began, watch, "", problem.Message);
                await Task.Delay(AfterFailure);
            }
        }
    }

    private static void Repeat(NpgsqlDataSource source)
    {
        while (true)
        {
            var (began, watch) = (DateTimeOffset.UtcNow, Stopwatch.StartNew());
            try
            {
                using var connection = source.OpenConnection();
                using var command = new NpgsqlCommand("select current_user", connection);
                Print("Npgsql", began, watch, (string)command.ExecuteScalar()!, "");
                Thread.Sleep(Kept);
            }
            catch (Exception problem)
            {
                Print("Npgsql", began, watch, "", problem.Message);
                Thread.Sleep(AfterFailure);
            }
        }
    }

    private static void Print(string pool, DateTimeOffset began, Stopwatch watch, string role, string problem)
    {
        var fields = new[]
        {
            pool,
            (began.ToUnixTimeMilliseconds() / 1e3).ToString("F3", CultureInfo.InvariantCulture),
            watch.Elapsed.TotalSeconds.ToString("F3", CultureInfo.InvariantCulture),
            role,
            string.Join(' ', problem.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)),
        };
        Console.WriteLine(string.Join('\t', fields));
    }
}
