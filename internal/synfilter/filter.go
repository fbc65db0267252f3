// Package synfilter has the kernel drop attempts to connect, by where they come from, before there is a
// connection: what a listener refuses after accepting it costs a handshake, a file and a reset, and the other
// side learns at once that it may try again. Of a dropped attempt the other side hears nothing and asks again
// after a second, then after two more, four and so on (RFC 6298), so that few that try without end are
// stopped and an honest one is late.
//
// It is a socket filter in classic BPF, which needs no privilege (socket(7), SO_ATTACH_FILTER), and is there
// on Linux alone. Accepted connections inherit it: it looks at nothing but first packets.
package synfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// MaxRules bounds a program: a rule has at most 14 instructions, most of them 6, and the kernel keeps a
// socket's program within net.core.optmem_max, which was 20 KiB for long.
const MaxRules = 64

// ErrUnsupported means that this kernel, or this kind of listener, takes no filter.
var ErrUnsupported = errors.New("attempts to connect cannot be filtered here")

// Rule is what becomes of attempts to connect from a network.
type Rule struct {
	From netip.Prefix
	// Pass of 256 are let through, by chance.
	Pass uint8
}

// netOffset is where the kernel maps the IP header to, for loads (linux/filter.h, SKF_NET_OFF); a filter of a
// socket begins at the TCP header.
const netOffset = 0xfff00000

const (
	keep = 1<<32 - 1 // of a packet's bytes
	drop = 0
)

// program is the filter of rules, the first that fits first.
func program(rules []Rule) ([]bpf.Instruction, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("%d rules, at most %d fit", len(rules), MaxRules)
	}
	var v4, v6 []bpf.Instruction
	for _, r := range rules {
		if r.From = r.From.Masked(); !r.From.IsValid() {
			return nil, fmt.Errorf("a rule for no network")
		}
		if r.From.Addr().Is4() {
			v4 = append(v4, r.instructions(12)...)
		} else {
			v6 = append(v6, r.instructions(8)...)
		}
	}
	const flags, syn, ack = 13, 0x02, 0x10
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: flags, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: syn | ack},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: syn, SkipTrue: 1},
		bpf.RetConstant{Val: keep},
		bpf.LoadAbsolute{Off: netOffset, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 4, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(v4) + 1)},
	}
	p = append(append(p, v4...), bpf.RetConstant{Val: keep})
	return append(append(p, v6...), bpf.RetConstant{Val: keep}), nil
}

// instructions end the program for a source within the rule's network, which stands at an offset of the IP
// header, and go on behind themselves for others.
func (r Rule) instructions(offset uint32) []bpf.Instruction {
	verdict := []bpf.Instruction{bpf.RetConstant{Val: drop}}
	if r.Pass > 0 {
		verdict = []bpf.Instruction{
			bpf.LoadExtension{Num: bpf.ExtRand},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xff},
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(r.Pass), SkipTrue: 1},
			bpf.RetConstant{Val: keep},
			bpf.RetConstant{Val: drop},
		}
	}
	out, addr := verdict, r.From.Addr().AsSlice()
	for word := (r.From.Bits()+31)/32 - 1; word >= 0; word-- {
		mask := ^uint32(0) << max(0, 32*(word+1)-r.From.Bits())
		match := []bpf.Instruction{bpf.LoadAbsolute{Off: netOffset + offset + uint32(4*word), Size: 4}}
		if mask != ^uint32(0) {
			match = append(match, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
		}
		match = append(match, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32(addr[4*word:]), SkipTrue: uint8(len(out))})
		out = append(match, out...)
	}
	return out
}
