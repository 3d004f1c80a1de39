using System.Runtime.InteropServices;

namespace PgEntra.Interop;

/// <summary>Keeps this assembly loaded, in a collectible load context, while the engine may call it.</summary>
internal static class AssemblyReference
{
    private static readonly Anchor Gate = new();
    private static int references;
    private static GCHandle keptAlive;

    /// <summary>Registers a callback that the engine may call.</summary>
    internal static void Add()
    {
        lock (Gate)
        {
            if (references++ == 0)
            {
                keptAlive = GCHandle.Alloc(Gate);
            }
        }
    }

    /// <summary>Ends a registration.</summary>
    internal static void Remove()
    {
        lock (Gate)
        {
            if (--references == 0)
            {
                keptAlive.Free();
            }
        }
    }

    // A type of this assembly, so that a handle to an object of it keeps the assembly.
    private sealed class Anchor;
}
