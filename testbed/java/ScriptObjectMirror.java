package jdk.nashorn.api.scripting;

/**
 * Stands in for a class of the JavaScript engine that Java had up to version 14. Maxwell asks of each value whether it is one of these, which
 * must not fail where there is no JavaScript.
 */
public final class ScriptObjectMirror {
    private ScriptObjectMirror() {
    }
}
