// Package console is the page for operators at /console: what happens, what failed and why, and what can be
// done about it, without a terminal.
//
// It renders the API and decides nothing: it asks the API of its own process through the generated client, in
// the name of who is signed in, so that each right, limit and check is the API's alone. It knows no store.
// Pages are made on the server and work without script; a small script adds what changes while one looks.
//
// Whatever is shown may be hostile: html/template escapes it, visible replaces what would reorder or hide
// text, and the policy of the pages lets nothing run or load that is not in assets.
package console
