using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Passes the engine's events to the application's logging.</summary>
/// <remarks>
/// There is one engine in a process, and one log. The first failed refresh is a warning that contains the remaining lifetime of
/// the token, a lifetime of less than five minutes is an error, and the recovery is an information.
/// </remarks>
public static unsafe class PgEntraLogging
{
    private const int MostHeld = 64;

    private static readonly Queue<string> Held = new();
    private static ILogger? logger;

    /// <summary>Writes events to the category <c>PgEntra</c> of a factory, instead of the previous one.</summary>
    /// <param name="factory">The application's factory; <see langword="null"/> ends logging.</param>
    public static void Use(ILoggerFactory? factory)
    {
        var next = factory?.CreateLogger("PgEntra");
        logger = next;
        LogHeld();
        if (next is null)
        {
            Stop();
            return;
        }

        var level = 4;
        while (level > 1 && !next.IsEnabled(LevelOf(level)))
        {
            level--;
        }

        AssemblyReference.Add();
        var code = Native.SetLogCallback(level, &OnEvent, 0, &OnReplaced, out var error);
        if (code != 0)
        {
            AssemblyReference.Remove();
            throw NativeError.Take(error);
        }

        Library.Unloading -= Stop;
        Library.Unloading += Stop;
    }

    /// <summary>Logs a warning. Without a logger it is kept for the first one, because each warning is given once in a process.</summary>
    internal static void Warn(string message)
    {
        lock (Held)
        {
            if (Held.Count < MostHeld)
            {
                Held.Enqueue(message);
            }
        }

        LogHeld();
    }

    internal static void Debug(string message)
    {
        if (logger is { } current)
        {
            Emit(current, LogLevel.Debug, message);
        }
    }

    private static void Stop()
    {
        logger = null;
        NativeError.Check(Native.SetLogCallback(0, null, 0, null, out var error), error);
    }

    private static void LogHeld()
    {
        while (logger is { } current)
        {
            string? message;
            lock (Held)
            {
                if (!Held.TryDequeue(out message))
                {
                    return;
                }
            }

            Emit(current, LogLevel.Warning, message);
        }
    }

    /// <summary>Converts a level of the engine: 1 is an error, 4 is debug.</summary>
    private static LogLevel LevelOf(int level) => (LogLevel)(5 - level);

    private static void Emit(ILogger to, LogLevel level, string message) =>
        to.Log(level, default, message, null, static (text, _) => text);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnEvent(nint userData, int level, nint target, nint message)
    {
        try
        {
            if (logger is { } current)
            {
                Emit(current, LevelOf(level), Marshal.PtrToStringUTF8(message) ?? "");
            }
        }
        catch (Exception)
        {
            // The application's logger failed. An exception must not reach the engine, and there is no other log.
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void OnReplaced(nint userData) => AssemblyReference.Remove();
}
