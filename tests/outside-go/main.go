// Reads a log as somebody who trusts nothing in this repository would: with Go's own packages for transparency logs
// (golang.org/x/mod/sumdb/tlog and note, as Debian ships them) and nothing of ours.
//
//	outside fetch -url URL -name HOST -ca FILE -cert FILE -key FILE -log KEY -dir DIR
//	outside verify -log KEY -dir DIR
//	outside verdicts < CASES
//	outside proofs SIZE
//
// fetch reads what a tiled log of the newest checkpoint has, keeps it under DIR and verifies it; DIR/checkpoints holds
// notes of the same log that were seen before, one a file. verify does the same with what DIR holds. verdicts says of
// each line of standard input whether the proof in it holds. proofs prints all proofs of trees of up to SIZE leaves.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// height is that of a tile: 256 hashes.
const height = 8

// answerMax is the longest answer that is read: a bundle of 256 leaves of two bytes of length each.
const answerMax = 256 * (2 + 65535)

// source gives the bytes behind a path of the log.
type source func(path string) ([]byte, error)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "outside:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say fetch, verify, verdicts or proofs")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	text := func(name, meaning string) *string { return flags.String(name, "", meaning) }
	url, name := text("url", "prefix of the log"), text("name", "name in the broker's certificate")
	ca, cert, key := text("ca", "TLS authority"), text("cert", "certificate of a member"), text("key", "its key")
	log, dir := text("log", "verifier key of the log"), text("dir", "folder with copies")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	switch arguments[0] {
	case "fetch":
		client, err := member(*name, *ca, *cert, *key)
		if err != nil {
			return err
		}
		return verify(*log, *dir, once(kept(*dir, over(client, *url))))
	case "verify":
		return verify(*log, *dir, once(copies(*dir)))
	case "verdicts":
		return verdicts(os.Stdin, os.Stdout)
	case "proofs":
		size, err := strconv.ParseInt(flags.Arg(0), 10, 64)
		if err != nil {
			return err
		}
		return proofs(size, os.Stdout)
	}
	return fmt.Errorf("%s is nothing that can be done", arguments[0])
}

// member is a client with a member's certificate.
func member(name, ca, cert, key string) (*http.Client, error) {
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, errors.New("no TLS authority in " + ca)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{pair},
		ServerName:   name,
		MinVersion:   tls.VersionTLS13,
	}
	transport := &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true}
	return &http.Client{Transport: transport, Timeout: time.Minute}, nil
}

// over reads from a server.
func over(client *http.Client, url string) source {
	return func(path string) ([]byte, error) {
		answer, err := client.Get(url + "/" + path)
		if err != nil {
			return nil, err
		}
		defer answer.Body.Close()
		bytes, err := io.ReadAll(io.LimitReader(answer.Body, answerMax+1))
		if err != nil {
			return nil, err
		}
		if answer.StatusCode != http.StatusOK || answer.ProtoMajor != 2 || len(bytes) > answerMax {
			return nil, fmt.Errorf("%s: %s %s, %d bytes: %.200s", path, answer.Proto, answer.Status, len(bytes), bytes)
		}
		return bytes, nil
	}
}

// kept keeps what was read under dir.
func kept(dir string, from source) source {
	return func(path string) ([]byte, error) {
		bytes, err := from(path)
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			return nil, err
		}
		return bytes, os.WriteFile(file, bytes, 0o600)
	}
}

// once asks for each path once: tiles are wanted for many proofs.
func once(from source) source {
	known := map[string][]byte{}
	return func(path string) ([]byte, error) {
		if bytes, ok := known[path]; ok {
			return bytes, nil
		}
		bytes, err := from(path)
		if err == nil {
			known[path] = bytes
		}
		return bytes, err
	}
}

// copies reads what was kept.
func copies(dir string) source {
	return func(path string) ([]byte, error) {
		return os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	}
}

// open checks a checkpoint's signature and reads it.
func open(message []byte, verifier note.Verifier) (tlog.Tree, error) {
	opened, err := note.Open(message, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, errors.New("a note that is no checkpoint of this log")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("a checkpoint of %q leaves", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// seen reads all checkpoints that were seen before, smallest first.
func seen(dir string, verifier note.Verifier) ([]tlog.Tree, error) {
	files, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
	if err != nil {
		return nil, err
	}
	var trees []tlog.Tree
	for _, file := range files {
		message, err := os.ReadFile(filepath.Join(dir, "checkpoints", file.Name()))
		if err != nil {
			return nil, err
		}
		tree, err := open(message, verifier)
		if err != nil {
			return nil, fmt.Errorf("checkpoints/%s: %w", file.Name(), err)
		}
		trees = append(trees, tree)
	}
	sort.SliceStable(trees, func(a, b int) bool { return trees[a].N < trees[b].N })
	return trees, nil
}

// tiles reads tiles where C2SP tlog-tiles has them: as Go's own, without the height.
type tiles struct{ from source }

func (tiles) Height() int { return height }

func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		path := "tile/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", height))
		bytes, err := t.from(path)
		if err != nil {
			return nil, err
		}
		all = append(all, bytes)
	}
	return all, nil
}

// leaves reads all leaves of a log from its bundles.
func leaves(size int64, from source) ([][]byte, error) {
	var all [][]byte
	for start := int64(0); start < size; start += 1 << height {
		tile := tlog.Tile{H: height, L: -1, N: start >> height, W: 1 << height}
		if size-start < 1<<height {
			tile.W = int(size - start)
		}
		path := "tile/entries/" + strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/data/", height))
		bundle, err := from(path)
		if err != nil {
			return nil, err
		}
		for number := 0; number < tile.W; number++ {
			if len(bundle) < 2 || len(bundle)-2 < int(binary.BigEndian.Uint16(bundle)) {
				return nil, fmt.Errorf("%s ends within leaf %d", path, number)
			}
			end := 2 + int(binary.BigEndian.Uint16(bundle))
			all = append(all, bundle[2:end])
			bundle = bundle[end:]
		}
		if len(bundle) > 0 {
			return nil, fmt.Errorf("%s holds more than %d leaves", path, tile.W)
		}
	}
	return all, nil
}

// verify checks everything that there is to check; nothing may be missing.
func verify(log, dir string, from source) error {
	verifier, err := note.NewVerifier(log)
	if err != nil {
		return err
	}
	message, err := from("checkpoint")
	if err != nil {
		return err
	}
	newest, err := open(message, verifier)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	trees, err := seen(dir, verifier)
	if err != nil {
		return err
	}
	trees = append(trees, newest)
	all, err := leaves(newest.N, from)
	if err != nil {
		return err
	}
	if err := included(all, newest, tlog.TileHashReader(newest, tiles{from})); err != nil {
		return err
	}
	pairs, err := consistent(all, trees, from)
	if err != nil {
		return err
	}
	fmt.Printf("%d entries, %d checkpoints, %d extensions\n", len(all), len(trees), pairs)
	return nil
}

// included checks that every leaf stands under the newest checkpoint, with proofs made from the tiles.
func included(all [][]byte, newest tlog.Tree, reader tlog.HashReader) error {
	for number, leaf := range all {
		proof, err := tlog.ProveRecord(newest.N, int64(number), reader)
		if err != nil {
			return fmt.Errorf("leaf %d: %w", number, err)
		}
		if err := tlog.CheckRecord(proof, newest.N, newest.Hash, int64(number), tlog.RecordHash(leaf)); err != nil {
			return fmt.Errorf("leaf %d: %w", number, err)
		}
	}
	return nil
}

// consistent checks every checkpoint against the leaves, the tiles of its own size, and every smaller checkpoint.
func consistent(all [][]byte, trees []tlog.Tree, from source) (int, error) {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			if index >= int64(len(stored)) {
				return nil, errors.New("beyond the last leaf")
			}
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	for number, leaf := range all {
		hashes, err := tlog.StoredHashes(int64(number), leaf, reader)
		if err != nil {
			return 0, err
		}
		stored = append(stored, hashes...)
	}
	pairs := 0
	newest := tlog.TileHashReader(trees[len(trees)-1], tiles{from})
	for at, tree := range trees {
		if tree.N < 1 || tree.N > int64(len(all)) {
			return 0, fmt.Errorf("a checkpoint of %d leaves where the newest has %d", tree.N, len(all))
		}
		if root, err := tlog.TreeHash(tree.N, reader); err != nil || root != tree.Hash {
			return 0, fmt.Errorf("the root of %d leaves is another (%v)", tree.N, err)
		}
		own := tlog.TileHashReader(tree, tiles{from})
		if _, err := tlog.ProveRecord(tree.N, tree.N-1, own); err != nil {
			return 0, fmt.Errorf("tiles of %d leaves: %w", tree.N, err)
		}
		if _, err := tlog.ProveTree(trees[len(trees)-1].N, tree.N, newest); err != nil {
			return 0, fmt.Errorf("tiles from %d leaves on: %w", tree.N, err)
		}
		for _, older := range trees[:at] {
			proof, err := tlog.ProveTree(tree.N, older.N, reader)
			if err != nil {
				return 0, err
			}
			if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
				return 0, fmt.Errorf("from %d to %d leaves: %w", older.N, tree.N, err)
			}
			pairs++
		}
	}
	return pairs, nil
}

// verdicts answers `record SIZE INDEX LEAF ROOT PATH` and `tree NEW OLD NEWROOT OLDROOT PATH`, hashes in hexadecimal,
// those of a path behind one another (`-`: none), with `holds` or `refused`.
func verdicts(in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 1<<20), 1<<20)
	answers := bufio.NewWriter(out)
	for lines.Scan() {
		holds, err := verdict(strings.Fields(lines.Text()))
		if err != nil {
			return fmt.Errorf("%q: %w", lines.Text(), err)
		}
		fmt.Fprintln(answers, map[bool]string{true: "holds", false: "refused"}[holds])
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return answers.Flush()
}

func verdict(words []string) (bool, error) {
	if len(words) != 6 {
		return false, errors.New("six words are needed")
	}
	size, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return false, err
	}
	number, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil {
		return false, err
	}
	var hashes []tlog.Hash
	bytes, err := hex.DecodeString(words[3] + words[4] + strings.TrimPrefix(words[5], "-"))
	if err != nil || len(bytes) < 2*tlog.HashSize || len(bytes)%tlog.HashSize != 0 {
		return false, fmt.Errorf("%d bytes of hashes (%v)", len(bytes), err)
	}
	for ; len(bytes) > 0; bytes = bytes[tlog.HashSize:] {
		var hash tlog.Hash
		copy(hash[:], bytes)
		hashes = append(hashes, hash)
	}
	switch words[0] {
	case "record":
		return tlog.CheckRecord(hashes[2:], size, hashes[1], number, hashes[0]) == nil, nil
	case "tree":
		return tlog.CheckTree(hashes[2:], size, hashes[0], number, hashes[1]) == nil, nil
	}
	return false, errors.New("neither record nor tree")
}

// proofs prints, as verdicts reads them, all proofs of trees of up to size leaves; leaf n is n in eight bytes.
func proofs(size int64, out io.Writer) error {
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var hashes []tlog.Hash
		for _, index := range indexes {
			hashes = append(hashes, stored[index])
		}
		return hashes, nil
	})
	lines := bufio.NewWriter(out)
	path := func(hashes []tlog.Hash) string {
		text := "-"
		for _, hash := range hashes {
			text = strings.TrimPrefix(text, "-") + hex.EncodeToString(hash[:])
		}
		return text
	}
	roots := []tlog.Hash{{}}
	for count := int64(1); count <= size; count++ {
		hashes, err := tlog.StoredHashes(count-1, leaf(count-1), reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
		root, err := tlog.TreeHash(count, reader)
		if err != nil {
			return err
		}
		roots = append(roots, root)
		for number := int64(0); number < count; number++ {
			proof, err := tlog.ProveRecord(count, number, reader)
			if err != nil {
				return err
			}
			fmt.Fprintf(lines, "record %d %d %x %x %s\n", count, number, recordHash(number), root[:], path(proof))
		}
		for older := int64(1); older <= count; older++ {
			proof, err := tlog.ProveTree(count, older, reader)
			if err != nil {
				return err
			}
			fmt.Fprintf(lines, "tree %d %d %x %x %s\n", count, older, root[:], roots[older][:], path(proof))
		}
	}
	return lines.Flush()
}

func leaf(number int64) []byte {
	return binary.BigEndian.AppendUint64(nil, uint64(number))
}

func recordHash(number int64) []byte {
	hash := tlog.RecordHash(leaf(number))
	return hash[:]
}
