using System.Buffers;
using System.Collections.Concurrent;
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

    private static AssemblyLoadContext? Context => AssemblyLoadContext.GetLoadContext(typeof(Library).Assembly);

    /// <summary>The variables that the engine knows, as .NET sees them now: it cannot see what a host changes.</summary>
    internal static IEnumerable<KeyValuePair<string, string>> Environment()
    {
        foreach (var name in knownVariables ??= Load())
        {
            if (System.Environment.GetEnvironmentVariable(name) is { } value)
            {
                yield return new(name, value);
            }
        }
    }

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
            AppDomain.CurrentDomain.ProcessExit += static (_, _) => Native.Shutdown();
        }

        Check(Native.GetKnownVariables(out var json, out var error), error);
        using var names = JsonDocument.Parse(Take(json)!);
        return [.. names.RootElement.EnumerateArray().Select(name => name.GetString()!)];
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
internal sealed class Registry<T>
    where T : class
{
    private readonly ConcurrentDictionary<nint, T> objects = new();
    private long last;

    internal nint Add(T item)
    {
        var id = (nint)Interlocked.Increment(ref last);
        objects[id] = item;
        return id;
    }

    internal T? Find(nint id) => objects.GetValueOrDefault(id);

    internal T? Remove(nint id) => objects.TryRemove(id, out var item) ? item : null;
}

/// <summary>What credentials of the program threw, until the last error that has it is gone.</summary>
internal static unsafe class Causes
{
    private static readonly Registry<Exception> Kept = new();

    internal static Exception? Find(nint id) => id == 0 ? null : Kept.Find(id);

    internal static void Fail(nint request, string className, string message, bool unavailable, Exception cause)
    {
        Library.AddReference();
        // A cause's finalizer is called even where the request was answered before.
        _ = Native.Fail(request, Clean(className), Clean(message), unavailable, Kept.Add(cause), &Forget, out var error);
        Native.FreeError(error);
    }

    /// <summary>Without what would end a C string early.</summary>
    private static string Clean(string text) => text.Replace('\0', ' ');

    [UnmanagedCallersOnly(CallConvs = [typeof(System.Runtime.CompilerServices.CallConvCdecl)])]
    private static void Forget(nint id)
    {
        _ = Kept.Remove(id);
        Library.RemoveReference();
    }
}
