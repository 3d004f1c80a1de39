using System.Diagnostics;
using System.Globalization;

namespace PgEntra.Tests;

/// <summary>A process that uses the library ends, in every situation. The programs are in <c>tests/exits</c>.</summary>
public sealed class ExitTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);
    private static readonly int Count = int.Parse(Environment.GetEnvironmentVariable("PGENTRA_EXITS") ?? "20", CultureInfo.InvariantCulture);

    [Theory]
    [InlineData("return from Main during a fetch")]
    [InlineData("Environment.Exit during a fetch", 3)]
    [InlineData("Environment.Exit while other threads wait, and catch nothing", 3)]
    [InlineData("a ProcessExit handler that waits for a thread that waits")]
    [InlineData("an unhandled exception during a fetch", 134)]
    [InlineData("SIGTERM during a fetch", 143)]
    [InlineData("a blocked synchronous credential")]
    [InlineData("an asynchronous credential that never responds")]
    [InlineData("asynchronous credentials that block the thread pool")]
    [InlineData("Environment.Exit in a credential", 3)]
    [InlineData("Environment.Exit in a logger", 3)]
    [InlineData("a blocked logger")]
    [InlineData("ProcessExit handlers that request tokens")]
    public async Task Process_ends(string situation, int status = 0)
    {
        // More processes at once than processors, because some wait for 1 s.
        using var places = new SemaphoreSlim(4);
        var exits = await Task.WhenAll(Enumerable.Range(0, Count).Select(async _ =>
        {
            await places.WaitAsync();
            try
            {
                return await RunAsync(situation);
            }
            finally
            {
                places.Release();
            }
        }));
        var hung = exits.Count(exit => exit.Status is null);
        Assert.True(hung == 0, $"{situation}: {hung} of {Count} processes did not end within {Limit.TotalSeconds} s");
        Assert.All(exits, exit => Assert.True(exit.Status == status, $"{situation}: ended with status {exit.Status} instead of {status}\n{exit.Output}"));
        if (situation.StartsWith("ProcessExit", StringComparison.Ordinal))
        {
            Assert.All(exits, exit => Assert.Equal("a.b.c a.b.c shutting_down", exit.Output.Trim()));
        }
    }

    private static async Task<(int? Status, string Output)> RunAsync(string situation)
    {
        var program = Path.Combine(AppContext.BaseDirectory.Replace("PgEntra.Tests", "exits", StringComparison.Ordinal), "Exits.dll");
        var start = new ProcessStartInfo("dotnet", [program, situation]) { RedirectStandardOutput = true, RedirectStandardError = true };
        // Without core files and the messages about them.
        start.Environment["DOTNET_DbgEnableMiniDump"] = "0";
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        var errors = process.StandardError.ReadToEndAsync();
        using var limit = new CancellationTokenSource(Limit);
        try
        {
            await process.WaitForExitAsync(limit.Token);
        }
        catch (OperationCanceledException)
        {
            process.Kill();
            return (null, "");
        }

        return (process.ExitCode, await output + await errors);
    }
}
