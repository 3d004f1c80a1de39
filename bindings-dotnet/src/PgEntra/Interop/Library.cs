using System.Buffers;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using System.Text;
using System.Text.Json;
using PgEntra.Identity;

namespace PgEntra.Interop;

/// <summary>The loaded engine: what holds for the whole process, and how texts and errors come across.</summary>
internal static class Library
{
    private static readonly Anchor Gate = new();
    private static string[]? knownVariables;
    private static int references;
    private static GCHandle keptAlive;
    private static volatile int exitingThread;

    private static AssemblyLoadContext? Context => AssemblyLoadContext.GetLoadContext(typeof(Library).Assembly);

    /// <summary>Whether another thread than this one ends the process.</summary>
    /// <param name="thread">A managed thread's id.</param>
    internal static bool EndsBeside(int thread) => exitingThread is not 0 and var exiting && exiting != thread;

    /// <summary>The names of the environment variables that the engine knows.</summary>
    internal static string[] KnownVariables => knownVariables ??= Load();

    /// <summary>Checks that the library is the one this assembly was made for, and ends its work with the process.</summary>
    private static string[] Load()
    {
        var version = Native.GetAbiVersion();
        if (version != Native.AbiVersion)
        {
            throw new DllNotFoundException(
                $"libpgentra has ABI version {version}, PgEntra needs {Native.AbiVersion}: install them together.");
        }

        if (Context is { IsCollectible: true } context)
        {
            // The process goes on, and so does the engine, but nothing of it may call into code that is gone.
            context.Unloading += static _ =>
            {
                PgEntraLogging.Use(null);
                Telemetry.Stop();
            };
        }
        else
        {
            AppDomain.CurrentDomain.ProcessExit += static (_, _) =>
            {
                exitingThread = Environment.CurrentManagedThreadId;
                Native.Shutdown();
            };
        }

        Check(Native.GetKnownVariables(out var json, out var error), error);
        var names = new List<string>();
        var reader = new Utf8JsonReader(Encoding.UTF8.GetBytes(Take(json)!));
        while (reader.Read())
        {
            if (reader.TokenType == JsonTokenType.String)
            {
                names.Add(reader.GetString()!);
            }
        }

        return [.. names];
    }

    /// <summary>Keeps the code loaded, in a collectible load context, while the engine may call it.</summary>
    internal static void AddReference()
    {
        lock (Gate)
        {
            if (references++ == 0)
            {
                keptAlive = GCHandle.Alloc(Gate);
            }
        }
    }

    /// <summary>The engine will make one callback less.</summary>
    internal static void RemoveReference()
    {
        lock (Gate)
        {
            if (--references == 0)
            {
                keptAlive.Free();
            }
        }
    }

    /// <summary>Throws what a function failed with.</summary>
    internal static void Check(int code, nint error)
    {
        if (code != 0)
        {
            throw TakeError(error);
        }
    }

    /// <summary>A string of the engine's as one of ours, which the engine need not keep.</summary>
    internal static string? Take(nint text)
    {
        try
        {
            return Marshal.PtrToStringUTF8(text);
        }
        finally
        {
            Native.FreeString(text);
        }
    }

    /// <summary>An error of the engine's as an exception; the error is freed.</summary>
    internal static PgEntraException TakeError(nint error)
    {
        try
        {
            return ReadError(error);
        }
        finally
        {
            Native.FreeError(error);
        }
    }

    /// <summary>An error of the engine's as an exception.</summary>
    internal static PgEntraException ReadError(nint error) => PgEntraException.Of(
        (ErrorKind)Native.GetErrorKind(error),
        Marshal.PtrToStringUTF8(Native.GetErrorMessage(error)) ?? "",
        Marshal.PtrToStringUTF8(Native.GetErrorDetail(error)) ?? "{}",
        Causes.Find(Native.GetErrorCause(error)));

    /// <summary>An error that .NET's side found, with the texts that all errors have.</summary>
    internal static PgEntraException Error(ErrorKind kind, string message, string? advice = null, string? credential = null)
    {
        _ = Native.NewError((int)kind, message, advice, credential, out var error);
        return TakeError(error);
    }

    /// <summary>Seconds since 1970; what is beyond the calendar is its end.</summary>
    internal static DateTimeOffset Time(long seconds) => DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(
        seconds, DateTimeOffset.MinValue.ToUnixTimeSeconds(), DateTimeOffset.MaxValue.ToUnixTimeSeconds()));

    /// <summary>A JSON object.</summary>
    internal static string Json(Action<Utf8JsonWriter> content)
    {
        var buffer = new ArrayBufferWriter<byte>(1024);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            content(writer);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    // Of this assembly, so that a handle on it keeps the assembly.
    private sealed class Anchor;
}

/// <summary>Objects that the engine knows by a number, never by an address: a late callback finds nothing.</summary>
/// <remarks>The code stays loaded while there is one.</remarks>
internal sealed class Registry<T>
    where T : class
{
    private readonly Dictionary<long, T> objects = [];
    private long last;

    internal int Count
    {
        get
        {
            lock (objects)
            {
                return objects.Count;
            }
        }
    }

    internal nint Add(T item)
    {
        Library.AddReference();
        lock (objects)
        {
            objects.Add(++last, item);
            return (nint)last;
        }
    }

    internal T? Find(nint id)
    {
        lock (objects)
        {
            return objects.GetValueOrDefault(id);
        }
    }

    internal bool Remove(nint id)
    {
        lock (objects)
        {
            if (!objects.Remove(id))
            {
                return false;
            }
        }

        Library.RemoveReference();
        return true;
    }
}

/// <summary>What credentials of the program threw, until the last error that has it is gone.</summary>
internal static unsafe class Causes
{
    private static readonly Registry<Exception> Kept = new();

    internal static Exception? Find(nint id) => id == 0 ? null : Kept.Find(id);

    internal static void Fail(nint request, string className, string message, bool unavailable, Exception cause)
    {
        // A cause's finalizer is called even where the request was answered before.
        _ = Native.Fail(request, Clean(className), Clean(message), unavailable, Kept.Add(cause), &Forget, out var error);
        Native.FreeError(error);
    }

    /// <summary>Without what would end a C string early.</summary>
    private static string Clean(string text) => text.Replace('\0', ' ');

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static void Forget(nint id) => Kept.Remove(id);
}
