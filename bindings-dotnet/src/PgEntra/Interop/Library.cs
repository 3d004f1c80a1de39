using System.Runtime.Loader;
using System.Text;
using System.Text.Json;

namespace PgEntra.Interop;

/// <summary>The engine in this process: its environment variables, and its shutdown.</summary>
internal static class Library
{
    private static string[]? knownVariables;
    private static volatile int exitingThread;

    static Library()
    {
        if (AssemblyLoadContext.GetLoadContext(typeof(Library).Assembly) is { IsCollectible: true } context)
        {
            // The engine goes on, because the process does.
            context.Unloading += static _ => Unloading?.Invoke();
        }
        else
        {
            AppDomain.CurrentDomain.ProcessExit += static (_, _) =>
            {
                exitingThread = Environment.CurrentManagedThreadId;
                Native.Shutdown();
            };
        }
    }

    /// <summary>Raised when the assembly's collectible load context is unloaded. The engine must not call the assembly afterwards.</summary>
    internal static event Action? Unloading;

    /// <summary>The environment variables that the engine reads.</summary>
    internal static string[] KnownVariables => knownVariables ??= Initialize();

    /// <summary>Returns whether a thread other than <paramref name="thread"/> is ending the process.</summary>
    /// <param name="thread">The id of a managed thread.</param>
    internal static bool IsEndedByAnotherThread(int thread) => exitingThread is not 0 and var exiting && exiting != thread;

    private static string[] Initialize()
    {
        NativeError.Check(Native.GetKnownVariables(out var json, out var error), error);
        var names = new List<string>();
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(NativeString.Take(json)!));
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.String)
            {
                names.Add(reader.GetString()!);
            }
        }

        return [.. names];
    }
}
