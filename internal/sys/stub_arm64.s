#include "go_asm.h"
#include "textflag.h"

// func stub()
//
// The interpreter of a Script: see stub.go and stub_amd64.s.
//
//	R19  the header    R20  the call at hand    R0  its result    R21  see begin
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $const_callBase, R19
	ADD  $const_headerSize, R19, R20

run:
	MOVD const_wordOp(R20), R8
	MOVD const_wordArgs(R20), R0
	MOVD (const_wordArgs+8)(R20), R1
	MOVD (const_wordArgs+16)(R20), R2
	MOVD (const_wordArgs+24)(R20), R3
	MOVD (const_wordArgs+32)(R20), R4
	MOVD (const_wordArgs+40)(R20), R5
	TBNZ $32, R8, own
	SVC
	JMP  done

own: // one of our own operations, not the kernel's
	CMPW $const_ownCompare, R8
	BEQ  compare
	CMPW $const_ownEqual, R8
	BEQ  equal
	CMPW $const_ownLoad, R8
	BEQ  load
	CMPW $const_ownNegate, R8
	BEQ  negate
	CMPW $const_ownReturn, R8
	BEQ  return
	CMPW $const_ownFail, R8
	BNE  done
	NEG  R0, R0
	JMP  done

return: // to what is R0 behind begin
	ADD R21, R0, R0
	JMP (R0)

load: // four bytes at R0, and R1
	MOVWU (R0), R6
	ADD   R1, R6, R0
	JMP   done

negate: // four bytes at R0
	MOVWU (R0), R6
	NEGW  R6, R0
	JMP   done

equal: // four bytes at R0 and R1
	MOVWU (R0), R3
	MOVWU (R1), R4
	MOVD  ZR, R0
	CMP   R3, R4
	BEQ   done
	MOVD  $1, R0
	JMP   done

compare: // R2 bytes at R0 and R1
	MOVD R0, R6
	MOVD ZR, R0

byte:
	CBZ    R2, done
	MOVBU  (R6), R3
	MOVBU  (R1), R4
	CMP    R3, R4
	BNE    differ
	ADD    $1, R6
	ADD    $1, R1
	SUB    $1, R2
	JMP    byte

differ:
	MOVD $-const_errnoMismatch, R0

done:
	CMN  $4095, R0
	BHS  error
	MOVD const_wordStore(R20), R9
	CBZ  R9, stored
	MOVD R0, (R9)

stored:
	CBNZ R0, next
	MOVD const_wordOnZero(R20), R9
	CBNZ R9, jump

next:
	MOVD const_wordGoto(R20), R9
	CBNZ R9, jump
	ADD  $const_callSize, R20
	JMP  run

jump:
	MOVD R9, R20
	JMP  run

error:
	NEG  R0, R0
	CMP  $128, R0
	BHS  fail
	LSR  $6, R0, R10
	ADD  $const_wordIgnore, R20, R11
	MOVD (R11)(R10<<3), R11
	LSR  R0, R11, R11             // shifts by the low six bits
	TBZ  $0, R11, fail
	MOVD const_wordErrno(R20), R9
	CBZ  R9, ignored
	ADD  $const_wordKeep, R20, R11
	MOVD (R11)(R10<<3), R11
	LSR  R0, R11, R11
	TBZ  $0, R11, ignored
	MOVD R0, (R9)

ignored:
	MOVD const_wordOnError(R20), R9
	CBNZ R9, jump
	ADD  $const_callSize, R20
	JMP  run

fail:
	MOVD const_wordIndex(R20), R9
	MOVD R9, 0(R19)
	MOVD R0, 8(R19)
	MOVD 16(R19), R20
	JMP  run

	// The mark that ends the copy: stubMark in stub.go.
	WORD $const_stubMark0
	WORD $const_stubMark1

// func stubAddr() uintptr
TEXT ·stubAddr(SB), NOSPLIT, $0-8
	MOVD $·stub(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func begin()
//
// See stub_amd64.s. R21 is the address of begin.
TEXT ·begin(SB), NOSPLIT|NOFRAME, $0-0
	MOVD $·begin(SB), R21
	MOVD $222, R8                    // mmap
	MOVD $const_dataBase, R0
	MOVD $const_becomePart, R1
	MOVD $3, R2                      // PROT_READ|PROT_WRITE
	MOVD $0x12, R3                   // MAP_PRIVATE|MAP_FIXED
	MOVD $const_becomeFD, R4
	MOVD ZR, R5
	SVC
	MOVD $const_dataBase, R6
	CMP  R0, R6
	BNE  broken
	MOVD $const_callBase, R0
	MOVD $const_becomePart, R5
	SVC
	MOVD $const_callBase, R6
	CMP  R0, R6
	BNE  broken
	B    ·stub(SB)

broken:
	MOVD $94, R8 // exit_group
	MOVD $1, R0
	SVC
	B    broken

// func beginAddr() uintptr
TEXT ·beginAddr(SB), NOSPLIT, $0-8
	MOVD $·begin(SB), R0
	MOVD R0, ret+0(FP)
	RET
