// Ends in a situation, which is the argument and a name in ExitTests.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using PgEntra;
using PgEntra.Identity;

return await Situations.RunAsync(args[0]);

internal static partial class Situations
{
    private static readonly ManualResetEventSlim Started = new();
    private static readonly ManualResetEventSlim Never = new();

    internal static async Task<int> RunAsync(string situation)
    {
        switch (situation)
        {
            case "return from Main during a fetch":
                _ = Silent().GetTokenAsync().AsTask();
                _ = WaitOnAThread(Silent());
                return 0;
            case "Environment.Exit during a fetch":
                _ = WaitOnAThread(Silent());
                Environment.Exit(3);
                return 0;
            case "Environment.Exit while other threads wait, and catch nothing":
                for (var number = 0; number < 4; number++)
                {
                    var provider = Silent();
                    new Thread(() => provider.GetToken()).Start();
                }

                Thread.Sleep(20);
                Environment.Exit(3);
                return 0;
            case "a ProcessExit handler that waits for a thread that waits":
                var waiting = WaitOnAThread(Silent());
                AppDomain.CurrentDomain.ProcessExit += (_, _) => waiting.Join();
                return 0;
            case "an unhandled exception during a fetch":
                _ = WaitOnAThread(Silent());
                throw new InvalidOperationException("the end");
            case "SIGTERM during a fetch":
                _ = Task.Delay(50).ContinueWith(_ => Kill(Environment.ProcessId, 15), TaskScheduler.Default);
                _ = await Silent().GetTokenAsync();
                return 0;
            case "a blocked synchronous credential":
                WaitOnAThread(new(new CallbackCredential(_ => BlockForEver())));
                Started.Wait();
                return 0;
            case "an asynchronous credential that never responds":
                _ = new TokenProvider(new CallbackCredential(async (_, _) =>
                {
                    Started.Set();
                    await Task.Delay(Timeout.Infinite, CancellationToken.None);
                    return default;
                })).GetTokenAsync().AsTask();
                Started.Wait();
                return 0;
            case "asynchronous credentials that block the thread pool":
                for (var number = 0; number < 40; number++)
                {
                    _ = new TokenProvider(new CallbackCredential((_, _) => new(BlockForEver()))).GetTokenAsync().AsTask();
                }

                Started.Wait();
                return 0;
            case "Environment.Exit in a credential":
                _ = new TokenProvider(new CallbackCredential(_ =>
                {
                    Environment.Exit(3);
                    return default;
                })).GetToken();
                return 0;
            case "Environment.Exit in a logger":
                UseLogger(() => Environment.Exit(3));
                _ = Good().GetToken();
                Never.Wait();
                return 0;
            case "a blocked logger":
                UseLogger(() => BlockForEver());
                _ = Good().GetToken();
                Started.Wait();
                return 0;
            case "ProcessExit handlers that request tokens":
                TokenProvider? warm = null;
                // The library registers its own handler when it is first used.
                AppDomain.CurrentDomain.ProcessExit += (_, _) => Console.Write($"{warm!.GetToken()} ");
                warm = Good();
                _ = await warm.GetTokenAsync();
                AppDomain.CurrentDomain.ProcessExit += (_, _) => RequestFrom(warm, Silent());
                return 0;
            default:
                return 2;
        }
    }

    private static AccessToken BlockForEver()
    {
        Started.Set();
        Never.Wait();
        return default;
    }

    private static TokenProvider Good() => new(new CallbackCredential(_ => new("a.b.c", DateTimeOffset.UtcNow.AddHours(1))));

    /// <summary>Returns a provider of a managed identity whose endpoint accepts connections and never responds.</summary>
    private static TokenProvider Silent()
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        Environment.SetEnvironmentVariable("IDENTITY_ENDPOINT", $"http://{listener.LocalEndpoint}/token");
        Environment.SetEnvironmentVariable("IDENTITY_HEADER", "h");
        return new(new ManagedIdentityCredential());
    }

    private static Thread WaitOnAThread(TokenProvider provider)
    {
        using var begun = new ManualResetEventSlim();
        var thread = new Thread(() =>
        {
            begun.Set();
            try
            {
                _ = provider.GetToken();
            }
            catch (PgEntraException)
            {
                // The process is ending.
            }
        })
        { IsBackground = true };
        thread.Start();
        begun.Wait();
        Thread.Sleep(20);
        return thread;
    }

    private static void RequestFrom(TokenProvider warm, TokenProvider cold)
    {
        try
        {
            Console.Write($"{warm.GetToken()} ");
            _ = cold.GetToken();
        }
        catch (Exception failure)
        {
            Console.WriteLine(PgEntraException.Find(failure)?.Code ?? failure.ToString());
        }
    }

    private static void UseLogger(Action write) =>
        PgEntraLogging.Use(LoggerFactory.Create(logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(new Provider(write))));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);

    private sealed class Provider(Action write) : ILoggerProvider, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public void Dispose()
        {
        }

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => write();
    }
}
