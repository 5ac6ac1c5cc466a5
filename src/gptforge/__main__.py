"""python -m gptforge"""

from gptforge.cli import main

if __name__ == "__main__":
    main()
