using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using PgEntra.Interop;

namespace PgEntra;

/// <summary>Takes the engine's events to the program's own log.</summary>
/// <remarks>
/// The engine is one for the whole process, and so is its log. The first failed refresh is a warning that says how long the
/// token stays good, less than five minutes left an error, recovery an information.
/// </remarks>
public static unsafe class PgEntraLogging
{
    private const int MostHeld = 64;

    private static readonly Queue<string> Held = new();
    private static ILogger? logger;

    /// <summary>Events go to the category <c>PgEntra</c> of this factory from now on, in place of the one before.</summary>
    /// <param name="factory">The program's factory; <see langword="null"/>: nobody listens.</param>
    public static void Use(ILoggerFactory? factory)
    {
        var next = factory?.CreateLogger("PgEntra");
        logger = next;
        LogHeld();
        if (next is null)
        {
            Library.Check(Native.SetLogCallback(0, null, 0, null, out var error), error);
            return;
        }

        var level = 4;
        while (level > 1 && !next.IsEnabled(LevelOf(level)))
        {
            level--;
        }

        Library.AddReference();
        var code = Native.SetLogCallback(level, &Write, 0, &Finish, out var refused);
        if (code != 0)
        {
            Library.RemoveReference();
            throw Library.TakeError(refused);
        }
    }

    /// <summary>Logs a warning; without a logger it is held for the first one, because it is given once in a process.</summary>
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

    /// <summary>The engine counts from 1, an error, to 4, debugging.</summary>
    private static LogLevel LevelOf(int level) => (LogLevel)(5 - level);

    private static void Emit(ILogger to, LogLevel level, string message) =>
        to.Log(level, default, message, null, static (text, _) => text);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Write(nint userData, int level, nint target, nint message)
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
            // The program's own logger failed, and there is nobody to tell.
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Finish(nint userData) => Library.RemoveReference();
}
