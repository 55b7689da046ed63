package sim

import (
	"fmt"
	"slices"
	"strings"
)

// shrinkMax bounds the histories that are tried to make one short.
const shrinkMax = 20_000

// shrink makes a failing program as short and plain as it can: acts are taken out, in pieces that get smaller, and then
// their numbers become 0, for as long as it still fails.
func shrink(s setting, program []act) []act {
	tries := 0
	fails := func(p []act) bool {
		tries++
		return tries < shrinkMax && newWorld(s).run(p) != nil
	}
	for size := len(program) / 2; size > 0; size /= 2 {
		for at := 0; at+size <= len(program); {
			shorter := append(append([]act(nil), program[:at]...), program[at+size:]...)
			if fails(shorter) {
				program = shorter
			} else {
				at += size
			}
		}
	}
	for i := range program {
		for _, plain := range []func(*act){
			func(a *act) { a.a = 0 }, func(a *act) { a.b = 0 }, func(a *act) { a.c = 0 }, func(a *act) { a.d = 0 },
		} {
			p := append([]act(nil), program...)
			if plain(&p[i]); p[i] != program[i] && fails(p) {
				program = p
			}
		}
	}
	return program
}

// storyMax is how many lines of a story are told; what is left out is in the middle.
const storyMax = 80

// tellStory runs a program once more and returns what happened in it.
func tellStory(s setting, program []act) (story string, err error) {
	w := newWorld(s)
	w.story = &strings.Builder{}
	err = w.run(program)
	lines := strings.Split(w.story.String(), "\n")
	if left := len(lines) - storyMax; left > 0 {
		lines = slices.Replace(lines, storyMax/2, storyMax/2+left, fmt.Sprintf("      ... %d lines", left))
	}
	return strings.Join(lines, "\n"), err
}
