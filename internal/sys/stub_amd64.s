#include "go_asm.h"
#include "textflag.h"

// func stub()
//
// The interpreter of a Script: see stub.go. It is never called here, but
// copied into a program of its own, so it is position independent, uses no
// stack and refers to nothing but the fixed addresses of the script.
//
//	R12  the header    R13  the call at hand    AX  its result    R14  see begin
TEXT ·stub(SB), NOSPLIT|NOFRAME, $0-0
	MOVQ $const_callBase, R12
	MOVQ $(const_callBase+const_headerSize), R13

run:
	MOVQ const_wordOp(R13), AX
	MOVQ const_wordArgs(R13), DI
	MOVQ (const_wordArgs+8)(R13), SI
	MOVQ (const_wordArgs+16)(R13), DX
	MOVQ (const_wordArgs+24)(R13), R10
	MOVQ (const_wordArgs+32)(R13), R8
	MOVQ (const_wordArgs+40)(R13), R9
	BTQ  $32, AX
	JCS  own
	SYSCALL
	JMP  done

own: // one of our own operations, not the kernel's
	CMPL AX, $const_ownCompare
	JEQ  compare
	CMPL AX, $const_ownEqual
	JEQ  equal
	CMPL AX, $const_ownLoad
	JEQ  load
	CMPL AX, $const_ownNegate
	JEQ  negate
	CMPL AX, $const_ownReturn
	JEQ  return
	CMPL AX, $const_ownFail
	MOVQ DI, AX
	JNE  done
	NEGQ AX
	JMP  done

return: // to what is DI behind begin
	ADDQ R14, DI
	JMP  DI

load: // four bytes at DI, and SI
	MOVL (DI), AX
	ADDQ SI, AX
	JMP  done

negate: // four bytes at DI
	MOVL (DI), AX
	NEGL AX
	JMP  done

equal: // four bytes at DI and SI
	MOVL (DI), CX
	XORL AX, AX
	CMPL CX, (SI)
	JEQ  done
	INCL AX
	JMP  done

compare: // DX bytes at DI and SI
	XORL    AX, AX

byte:
	TESTQ   DX, DX
	JEQ     done
	MOVBLZX (DI), CX
	MOVBLZX (SI), BX
	CMPL    CX, BX
	JNE     differ
	INCQ    DI
	INCQ    SI
	DECQ    DX
	JMP     byte

differ:
	MOVQ $-const_errnoMismatch, AX

done:
	CMPQ  AX, $-4095
	JCC   error
	MOVQ  const_wordStore(R13), BX
	TESTQ BX, BX
	JEQ   stored
	MOVQ  AX, (BX)

stored:
	TESTQ AX, AX
	JNE   next
	MOVQ  const_wordOnZero(R13), BX
	TESTQ BX, BX
	JNE   jump

next:
	MOVQ  const_wordGoto(R13), BX
	TESTQ BX, BX
	JNE   jump
	ADDQ  $const_callSize, R13
	JMP   run

jump:
	MOVQ BX, R13
	JMP  run

error:
	NEGQ  AX
	CMPQ  AX, $128
	JCC   fail
	BTQ   AX, const_wordIgnore(R13)
	JCC   fail
	MOVQ  const_wordErrno(R13), BX
	TESTQ BX, BX
	JEQ   ignored
	BTQ   AX, const_wordKeep(R13)
	JCC   ignored
	MOVQ  AX, (BX)

ignored:
	MOVQ  const_wordOnError(R13), BX
	TESTQ BX, BX
	JNE   jump
	ADDQ  $const_callSize, R13
	JMP   run

fail:
	MOVQ const_wordIndex(R13), BX
	MOVQ BX, 0(R12)
	MOVQ AX, 8(R12)
	MOVQ 16(R12), R13
	JMP  run

	// The mark that ends the copy: stubMark in stub.go.
	LONG $const_stubMark0
	LONG $const_stubMark1

// func stubAddr() uintptr
TEXT ·stubAddr(SB), NOSPLIT, $0-8
	LEAQ ·stub(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func begin()
//
// Where a process begins that is to be this program: see become.go. It maps
// the data and the calls of the script from their file, and runs the stub. The
// stack is left as the kernel made it. R14 is the address of begin.
TEXT ·begin(SB), NOSPLIT|NOFRAME, $0-0
	LEAQ ·begin(SB), R14
	MOVQ $9, AX                     // mmap
	MOVQ $const_dataBase, DI
	MOVQ $const_becomePart, SI
	MOVQ $3, DX                     // PROT_READ|PROT_WRITE
	MOVQ $0x12, R10                 // MAP_PRIVATE|MAP_FIXED
	MOVQ $const_becomeFD, R8
	MOVQ $0, R9
	SYSCALL
	CMPQ AX, DI
	JNE  broken
	MOVQ $9, AX
	MOVQ $const_callBase, DI
	MOVQ $const_becomePart, R9
	SYSCALL
	CMPQ AX, DI
	JNE  broken
	JMP  ·stub(SB)

broken:
	MOVQ $231, AX // exit_group
	MOVQ $1, DI
	SYSCALL
	JMP  broken

// func beginAddr() uintptr
TEXT ·beginAddr(SB), NOSPLIT, $0-8
	LEAQ ·begin(SB), AX
	MOVQ AX, ret+0(FP)
	RET
